/* Cut, joined, mirrored, turned and greyed JPEGs made of stored coefficients: no pixel is computed. */
#include "transcode.h"

#include <string.h>

typedef struct {
    failure failed;
    reader in;
    writer out;
    const turbo_view *asked;
    turning turned;
    model common;
    mosaic all;
    int begun;     /* the first tile was read: `common` and the answer's header are set */
    unsigned tile; /* that is being read, for messages */
} transcoding;

/* ---- the answer's header and end -------------------------------------------------------------------------------------------- */

/* Markers decide the colour, so they stay as stored: libjpeg's own defaults would add JFIF to a bare YCbCr stream, and rewrite the
 * Adobe transform from the colour space it guessed. */
static void set_up(transcoding *job)
{
    struct jpeg_compress_struct *out = &job->out.lib;
    const turbo_box *box = &job->asked->box;
    jpeg_copy_critical_parameters(&job->in.lib, out);
    out->image_width = job->turned.swap ? box->height : box->width;
    out->image_height = job->turned.swap ? box->width : box->height;
    out->write_JFIF_header = job->in.lib.saw_JFIF_marker;
    out->write_Adobe_marker = FALSE;
    if (job->asked->gray) {
        out->num_components = 1;
        out->jpeg_color_space = JCS_GRAYSCALE;
    }
    for (int i = 0; i < out->num_components; i++) {
        turbo_size factors = out->num_components == 1 ? (turbo_size){1, 1} : job->common.sampling[i];
        out->comp_info[i].h_samp_factor = (int)(job->turned.swap ? factors.height : factors.width);
        out->comp_info[i].v_samp_factor = (int)(job->turned.swap ? factors.width : factors.height);
    }
    turn_tables(&job->turned, out);
}

/* Gray has no colour that Adobe's marker could explain. */
static void write_markers(transcoding *job)
{
    uint8_t adobe[] = {'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, (uint8_t)job->common.transform};
    if (job->common.adobe && !job->asked->gray)
        jpeg_write_marker(&job->out.lib, JPEG_APP0 + 14, adobe, sizeof adobe);
}

/* 1 if no coefficient reaches past 10 bits, so that each of them, and the difference of any two, has a code in the standard tables.
 * libjpeg checks this only while it gathers statistics; with fixed tables it would write a broken stream. */
static int fits_standard_tables(transcoding *job, j_common_ptr owner, jvirt_barray_ptr *arrays)
{
    struct jpeg_compress_struct *out = &job->out.lib;
    int wide = 0;
    for (int i = 0; i < out->num_components; i++) {
        turbo_size blocks = blocks_in(&job->common, i, job->asked->box.width, job->asked->box.height);
        unsigned down = job->turned.swap ? blocks.width : blocks.height;
        size_t across = job->turned.swap ? blocks.height : blocks.width;
        for (unsigned y = 0; y < down; y++) {
            JCOEFPTR row = owner->mem->access_virt_barray(owner, arrays[i], y, 1, FALSE)[0][0];
            for (size_t k = 0; k < across * DCTSIZE2; k++)
                wide |= row[k] > 1023 || row[k] < -1023;
        }
    }
    return !wide;
}

static void finish(transcoding *job, j_common_ptr owner, jvirt_barray_ptr *arrays)
{
    struct jpeg_compress_struct *out = &job->out.lib;
    out->optimize_coding = job->asked->optimize || !fits_standard_tables(job, owner, arrays);
    jpeg_write_coefficients(out, arrays);
    write_markers(job);
    jpeg_finish_compress(out);
}

/* ---- tiles ------------------------------------------------------------------------------------------------------------------ */

static jvirt_barray_ptr *read_tile(transcoding *job, turbo_bytes tile, unsigned rows)
{
    j_common_ptr cinfo = (j_common_ptr)&job->in.lib;
    reader_open(&job->in, tile);
    reader_header(&job->in);
    reader_expect(&job->in, job->asked->tile);
    jvirt_barray_ptr *arrays = reader_coefficients(&job->in, rows);
    model one = model_of(&job->in);
    if (job->begun) {
        model_match(&job->common, &one, cinfo);
    } else {
        model_suits(&one, job->asked, &job->turned, cinfo);
        job->common = one;
        job->begun = 1;
        set_up(job);
    }
    return arrays;
}

/* The part of tile `index`, along one axis, that lies in the box: its first pixel there. */
static unsigned overlap(unsigned index, unsigned tile, unsigned start, unsigned length, unsigned *count, unsigned *to)
{
    unsigned first = index * tile, end = first + tile;
    unsigned from = first < start ? start : first;
    *count = (end < start + length ? end : start + length) - from;
    *to = from - start;
    return from - first;
}

static patch patch_of(const turbo_view *asked, unsigned n)
{
    patch part;
    const turbo_box *box = &asked->box;
    part.left = overlap(n % asked->across, asked->tile.width, box->x, box->width, &part.width, &part.to_x);
    part.top = overlap(n / asked->across, asked->tile.height, box->y, box->height, &part.height, &part.to_y);
    return part;
}

static void place_tile(transcoding *job, unsigned n)
{
    patch part = patch_of(job->asked, n);
    int first = !job->begun;
    job->tile = n;
    jvirt_barray_ptr *arrays = read_tile(job, job->asked->tiles[n], part.top + part.height);
    if (first)
        mosaic_open(&job->all, &job->out.lib, job->asked);
    mosaic_place(&job->all, &job->in, arrays, &part);
    jpeg_destroy_decompress(&job->in.lib); /* an aborted one would lend its tables to the next tile */
}

static void place_sparse(transcoding *job, unsigned n)
{
    patch part = patch_of(job->asked, n);
    mosaic_white(&job->all, &part, (j_common_ptr)&job->out.lib);
}

/* ---- the two roads ---------------------------------------------------------------------------------------------------------- */

/* A cut anchored at 0,0 of one tile needs no copy: the writer, told a smaller size, takes the first blocks of the first rows of the
 * reader's own arrays and completes the last unit with empty blocks. */
static int only_cuts(const transcoding *job)
{
    const turbo_view *asked = job->asked;
    return job->turned.as_is && asked->across == 1 && asked->down == 1 && asked->box.x == 0 && asked->box.y == 0;
}

static void cut(transcoding *job)
{
    jvirt_barray_ptr *arrays = read_tile(job, job->asked->tiles[0], job->asked->box.height);
    finish(job, (j_common_ptr)&job->in.lib, arrays);
}

/* Sparse tiles come last: what white is there, the others tell. */
static void join(transcoding *job)
{
    const turbo_view *asked = job->asked;
    for (int sparse = 0; sparse < 2; sparse++)
        for (unsigned n = 0; n < asked->across * asked->down; n++)
            if ((asked->tiles[n].data == NULL) == sparse)
                (sparse ? place_sparse : place_tile)(job, n);
    finish(job, (j_common_ptr)&job->out.lib, job->all.arrays);
}

/* Of the tiles that are there; refuses where none is. */
static size_t stored_bytes(const turbo_view *asked, j_common_ptr cinfo)
{
    size_t sum = 0;
    int stored = 0;
    for (unsigned n = 0; n < asked->across * asked->down; n++)
        if (asked->tiles[n].data) {
            sum += asked->tiles[n].size;
            stored = 1;
        }
    if (!stored)
        refuse(cinfo, TURBO_NOT_LOSSLESS, "no tile is stored there");
    return sum;
}

static void transcode_work(void *given)
{
    transcoding *job = given;
    writer_open(&job->out, stored_bytes(job->asked, (j_common_ptr)&job->out.lib) + 4096, MOST_OUTPUT);
    (only_cuts(job) ? cut : join)(job);
}

/* Which tile is at fault, where there are several. */
static void name_tile(const transcoding *job, char *message)
{
    char said[TURBO_MESSAGE];
    const turbo_view *asked = job->asked;
    if (asked->across * asked->down == 1 || job->in.lib.mem == NULL)
        return;
    memcpy(said, message, sizeof said);
    snprintf(message, TURBO_MESSAGE, "tile %u,%u: %.160s", asked->col + job->tile % asked->across,
             asked->row + job->tile / asked->across, said);
}

int turbo_transcode(const turbo_view *asked, turbo_answer *answer)
{
    transcoding job = {.asked = asked, .turned = turning_of(asked->turn, asked->mirror)};
    job.all.common = &job.common;
    job.all.turned = &job.turned;
    job.in.lib.err = job.out.lib.err = failure_open(&job.failed, answer->message);
    int code = guarded(&job.failed, transcode_work, &job);
    if (code != TURBO_OK)
        name_tile(&job, answer->message);
    jpeg_destroy_decompress(&job.in.lib);
    return writer_close(&job.out, code, answer);
}
