-- Asks for the paths of a list, one after another, over and over; prints the counts and latencies as JSON.
local requests, number, at = {}, 0, 0

function init(args)
   for path in io.lines(args[1]) do
      number = number + 1
      requests[number] = wrk.format("GET", path)
   end
end

function request()
   at = at % number + 1
   return requests[at]
end

function done(summary, latency, _)
   local e = summary.errors
   io.write(string.format(
      '\nJSON {"requests": %d, "micros": %d, "bytes": %d, "errors": %d, "p50": %.0f, "p99": %.0f, "max": %.0f}\n',
      summary.requests, summary.duration, summary.bytes,
      e.connect + e.read + e.write + e.status + e.timeout,
      latency:percentile(50), latency:percentile(99), latency.max))
end
