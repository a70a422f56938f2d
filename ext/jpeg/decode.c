/* A window of a JPEG to RGB pixels, bit for bit those of a whole decode. */
#include "inside.h"

#include <string.h>

/* What libjpeg's smoothing of chroma looks at beside a pixel: one sample of two pixels. */
#define MARGIN 2

typedef struct {
    failure failed;
    reader in;
    const turbo_decoding *asked;
} decode_job;

/* jpeg_crop_scanline forgets that a component may be shrunk less than the picture (4x2 luma to 1x1 chroma at half size); it matters
 * where such a component still has to be widened. */
static int can_crop(const struct jpeg_decompress_struct *lib)
{
    for (int i = 0; i < lib->num_components; i++) {
        const jpeg_component_info *part = &lib->comp_info[i];
        if (part->DCT_scaled_size != lib->min_DCT_scaled_size &&
            part->DCT_scaled_size * part->h_samp_factor != lib->min_DCT_scaled_size * lib->max_h_samp_factor)
            return 0;
    }
    return 1;
}

/* Leaves out block columns that the window and its margins do not touch. Returns the first column that is decoded. */
static JDIMENSION keep_columns(struct jpeg_decompress_struct *lib, const turbo_box *window)
{
    JDIMENSION first = window->x > MARGIN ? window->x - MARGIN : 0;
    JDIMENSION end = window->x + window->width + MARGIN;
    JDIMENSION count = (end < lib->output_width ? end : lib->output_width) - first;
    if (!can_crop(lib))
        return 0;
    jpeg_crop_scanline(lib, &first, &count);
    return first;
}

static void read_rows(struct jpeg_decompress_struct *lib, const turbo_decoding *asked, JDIMENSION first)
{
    const turbo_box *window = &asked->window;
    JSAMPROW row = NULL, out = asked->out;
    /* At an odd address: libjpeg-turbo's colour conversion writes aligned rows past the caches, and this one is read at once. */
    if (lib->output_width != window->width)
        row = (JSAMPROW)lib->mem->alloc_large((j_common_ptr)lib, JPOOL_IMAGE, (size_t)lib->output_width * 3 + 1) + 1;
    for (unsigned i = 0; i < window->height; i++, out += asked->stride) {
        jpeg_read_scanlines(lib, row ? &row : &out, 1);
        if (row)
            memcpy(out, row + (size_t)(window->x - first) * 3, (size_t)window->width * 3);
    }
}

static void decode_work(void *given)
{
    decode_job *job = given;
    const turbo_decoding *asked = job->asked;
    struct jpeg_decompress_struct *lib = &job->in.lib;
    reader_open(&job->in, asked->jpeg);
    reader_header(&job->in);
    reader_expect(&job->in, asked->tile);
    lib->scale_num = 1;
    lib->scale_denom = asked->shrink;
    lib->out_color_space = JCS_RGB;
    reader_start(&job->in);
    JDIMENSION first = keep_columns(lib, &asked->window);
    jpeg_skip_scanlines(lib, asked->window.y);
    read_rows(lib, asked, first);
    if (lib->output_scanline == lib->output_height) /* else the rest is not looked at */
        jpeg_finish_decompress(lib);
}

int turbo_decode(const turbo_decoding *asked, char *message)
{
    decode_job job = {.asked = asked};
    job.in.lib.err = failure_open(&job.failed, message);
    int code = guarded(&job.failed, decode_work, &job);
    jpeg_destroy_decompress(&job.in.lib);
    return code;
}
