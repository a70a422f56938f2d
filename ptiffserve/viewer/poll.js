// Doing something again and again while somebody looks.

// Runs task every so many seconds, not while the page is hidden, and at once when it is shown again.
// A slow task is asked for less often: it gets at most a tenth of the time.
export function poll(seconds, task) {
  let timer = 0;
  let running = false;

  async function run() {
    clearTimeout(timer);
    if (running || document.hidden) return;
    running = true;
    const started = performance.now();
    await task();
    running = false;
    timer = setTimeout(run, Math.max(seconds * 1000, (performance.now() - started) * 10));
  }

  document.addEventListener("visibilitychange", run);
  timer = setTimeout(run, seconds * 1000);
  return run;
}
