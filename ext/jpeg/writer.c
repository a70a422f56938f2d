/* A JPEG written to memory that grows up to a limit. */
#include "inside.h"

#include <stdlib.h>

static void target_resize(writer *out, size_t size)
{
    uint8_t *data = realloc(out->data, size);
    if (data == NULL)
        ERREXIT1(&out->lib, JERR_OUT_OF_MEMORY, 0);
    out->target.next_output_byte = data + out->size;
    out->target.free_in_buffer = size - out->size;
    out->data = data;
    out->size = size;
}

static void target_start(j_compress_ptr cinfo) {}

/* libjpeg's contract: the whole buffer is full, whatever free_in_buffer says. */
static boolean target_full(j_compress_ptr cinfo)
{
    writer *out = cinfo->client_data;
    if (out->size >= out->limit)
        refuse((j_common_ptr)cinfo, TURBO_BAD, "the answer is over %zu bytes", out->limit);
    target_resize(out, out->size > out->limit / 2 ? out->limit : out->size * 2);
    return TRUE;
}

static void target_done(j_compress_ptr cinfo)
{
    writer *out = cinfo->client_data;
    out->size -= out->target.free_in_buffer;
}

void writer_open(writer *out, size_t guess, size_t limit)
{
    jpeg_create_compress(&out->lib);
    out->lib.client_data = out;
    out->lib.mem->max_memory_to_use = (long)MOST_MEMORY;
    out->limit = limit;
    out->target = (struct jpeg_destination_mgr){
        .init_destination = target_start,
        .empty_output_buffer = target_full,
        .term_destination = target_done,
    };
    out->lib.dest = &out->target;
    target_resize(out, guess < limit ? guess : limit);
}

int writer_close(writer *out, int code, turbo_answer *answer)
{
    jpeg_destroy_compress(&out->lib);
    if (code != TURBO_OK) {
        free(out->data);
        out->data = NULL;
        out->size = 0;
    }
    answer->data = out->data;
    answer->size = out->size;
    return code;
}
