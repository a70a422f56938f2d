/* Pixels to a baseline JPEG. */
#include "inside.h"

#define ROWS 16

typedef struct {
    failure failed;
    writer out;
    const turbo_encoding *asked;
} encode_job;

static void set_up(struct jpeg_compress_struct *lib, const turbo_encoding *asked)
{
    lib->image_width = asked->size.width;
    lib->image_height = asked->size.height;
    lib->input_components = asked->bands;
    lib->in_color_space = asked->bands == 3 ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_set_defaults(lib);
    if (asked->gray)
        jpeg_set_colorspace(lib, JCS_GRAYSCALE);
    jpeg_set_quality(lib, asked->quality, TRUE);
    lib->optimize_coding = asked->optimize;
    if (lib->num_components == 3) {
        lib->comp_info[0].h_samp_factor = asked->across;
        lib->comp_info[0].v_samp_factor = asked->down;
    }
}

static void write_rows(struct jpeg_compress_struct *lib, const turbo_encoding *asked)
{
    JSAMPROW rows[ROWS];
    while (lib->next_scanline < lib->image_height) {
        JDIMENSION left = lib->image_height - lib->next_scanline, count = left < ROWS ? left : ROWS;
        for (JDIMENSION i = 0; i < count; i++)
            rows[i] = (JSAMPROW)asked->pixels + (lib->next_scanline + i) * asked->stride; /* libjpeg has no const */
        jpeg_write_scanlines(lib, rows, count);
    }
}

/* At most 26 bits a sample come from a block: with four bytes the limit is for what cannot happen. */
static void encode_work(void *given)
{
    encode_job *job = given;
    const turbo_encoding *asked = job->asked;
    struct jpeg_compress_struct *lib = &job->out.lib;
    size_t samples = (size_t)asked->bands * (asked->size.width + 31) * (asked->size.height + 31);
    writer_open(&job->out, samples / 8 + asked->icc.size + 4096, samples * 4 + asked->icc.size * 2 + 65536);
    set_up(lib, asked);
    jpeg_start_compress(lib, TRUE);
    if (asked->icc.size)
        jpeg_write_icc_profile(lib, asked->icc.data, (unsigned)asked->icc.size);
    write_rows(lib, asked);
    jpeg_finish_compress(lib);
}

int turbo_encode(const turbo_encoding *asked, turbo_answer *answer)
{
    encode_job job = {.asked = asked};
    job.out.lib.err = failure_open(&job.failed, answer->message);
    return writer_close(&job.out, guarded(&job.failed, encode_work, &job), answer);
}
