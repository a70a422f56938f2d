/* libjpeg-turbo behind int codes: the only file that knows setjmp. Knows nothing of TIFF or Python.
 *
 * An entry point owns a job struct, passes it to guarded() with the function that does the work, and frees everything afterwards,
 * whatever happened. The job lives outside the function that calls setjmp, so longjmp leaves none of it indeterminate (C11 7.13.2.1).
 */
#include "turbo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#define MEBIBYTE ((size_t)1 << 20)

_Static_assert(TURBO_MESSAGE == JMSG_LENGTH_MAX, "libjpeg formats into a buffer of this size");

/* ---- failing -------------------------------------------------------------------------------------------------------------- */

typedef struct {
    struct jpeg_error_mgr lib; /* first: libjpeg hands its address back */
    jmp_buf escape;
    int code;
    char *message;
} failure;

static _Noreturn void fail(j_common_ptr cinfo)
{
    failure *failed = (failure *)cinfo->err;
    failed->lib.format_message(cinfo, failed->message);
    failed->code = failed->lib.msg_code == JERR_OUT_OF_MEMORY ? TURBO_NO_MEMORY : TURBO_BAD;
    longjmp(failed->escape, 1);
}

__attribute__((format(printf, 2, 3))) static _Noreturn void refuse(j_common_ptr cinfo, const char *format, ...)
{
    failure *failed = (failure *)cinfo->err;
    va_list values;
    va_start(values, format);
    vsnprintf(failed->message, TURBO_MESSAGE, format, values);
    va_end(values);
    failed->code = TURBO_BAD;
    longjmp(failed->escape, 1);
}

/* Level -1 is "corrupt, but I can guess": libjpeg would go on with grey blocks, which is a wrong tile. */
static void warned(j_common_ptr cinfo, int level)
{
    if (level < 0)
        fail(cinfo);
}

static void silent(j_common_ptr cinfo) {}

static struct jpeg_error_mgr *failure_open(failure *failed, char *message)
{
    jpeg_std_error(&failed->lib);
    failed->lib.error_exit = fail;
    failed->lib.emit_message = warned;
    failed->lib.output_message = silent;
    failed->message = message;
    return &failed->lib;
}

static int guarded(failure *failed, void (*work)(void *), void *job)
{
    if (setjmp(failed->escape))
        return failed->code;
    work(job);
    return TURBO_OK;
}

/* ---- reading from memory ---------------------------------------------------------------------------------------------------- */

typedef struct {
    struct jpeg_decompress_struct lib;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    const turbo_limits *limits;
    int reading;
    JHUFF_TBL *dc[NUM_HUFF_TBLS], *ac[NUM_HUFF_TBLS]; /* as the file defined them ahead of its first scan */
} reader;

static void source_nothing(j_decompress_ptr cinfo) {}

/* All bytes are there from the start, so being asked for more means they were not enough. */
static boolean source_ended(j_decompress_ptr cinfo)
{
    ERREXIT(cinfo, JWRN_JPEG_EOF);
    return FALSE;
}

static void source_skip(j_decompress_ptr cinfo, long count)
{
    if (count <= 0)
        return;
    if ((size_t)count > cinfo->src->bytes_in_buffer)
        ERREXIT(cinfo, JWRN_JPEG_EOF);
    cinfo->src->next_input_byte += count;
    cinfo->src->bytes_in_buffer -= (size_t)count;
}

/* libjpeg calls this between rows of blocks; the first call comes just after it has put the standard Huffman tables (meant for motion
 * JPEG) where the file defined none. They are taken out again: a later scan without its tables must fail, not decode to something. */
static void reader_step(j_common_ptr cinfo)
{
    reader *in = cinfo->client_data;
    if (!in->reading) {
        memcpy(in->lib.dc_huff_tbl_ptrs, in->dc, sizeof in->dc);
        memcpy(in->lib.ac_huff_tbl_ptrs, in->ac, sizeof in->ac);
        in->reading = 1;
    }
    if (in->lib.input_scan_number > in->limits->scans)
        refuse(cinfo, "more than %d scans", in->limits->scans);
}

static void reader_open(reader *in, const uint8_t *data, size_t size, const turbo_limits *limits)
{
    jpeg_create_decompress(&in->lib);
    in->limits = limits;
    in->lib.client_data = in;
    in->lib.mem->max_memory_to_use = (long)limits->memory; /* Debian's build has no backing store: over this is an error, never a file */
    in->source = (struct jpeg_source_mgr){
        .next_input_byte = data,
        .bytes_in_buffer = size,
        .init_source = source_nothing,
        .fill_input_buffer = source_ended,
        .skip_input_data = source_skip,
        .resync_to_restart = jpeg_resync_to_restart,
        .term_source = source_nothing,
    };
    in->lib.src = &in->source;
    in->progress.progress_monitor = reader_step;
    in->lib.progress = &in->progress;
}

/* Reads up to the first scan. Nothing the size of the picture has been allocated yet. */
static void reader_header(reader *in)
{
    j_common_ptr cinfo = (j_common_ptr)&in->lib;
    jpeg_read_header(&in->lib, TRUE);
    if (in->lib.image_width != in->limits->width || in->lib.image_height != in->limits->height)
        refuse(cinfo, "the JPEG is %ux%u px, expected %ux%u", in->lib.image_width, in->lib.image_height, in->limits->width,
               in->limits->height);
    if (in->lib.num_components != 1 && in->lib.num_components != 3)
        refuse(cinfo, "a JPEG of %d components is not served", in->lib.num_components);
    if (in->lib.arith_code)
        refuse(cinfo, "arithmetic coding is not served");
}

static void need_table(j_decompress_ptr cinfo, JHUFF_TBL *const tables[], int number)
{
    if (number >= 0 && number < NUM_HUFF_TBLS && tables[number] == NULL) /* other numbers libjpeg refuses itself */
        ERREXIT1(cinfo, JERR_NO_HUFF_TABLE, number);
}

static void reader_tables(reader *in)
{
    memcpy(in->dc, in->lib.dc_huff_tbl_ptrs, sizeof in->dc);
    memcpy(in->ac, in->lib.ac_huff_tbl_ptrs, sizeof in->ac);
    for (int i = 0; !in->lib.progressive_mode && i < in->lib.comps_in_scan; i++) {
        need_table(&in->lib, in->dc, in->lib.cur_comp_info[i]->dc_tbl_no);
        need_table(&in->lib, in->ac, in->lib.cur_comp_info[i]->ac_tbl_no);
    }
}

/* A file that ends properly, but between two of its scans, gives libjpeg nothing to warn of. */
static void reader_complete(reader *in)
{
    for (int i = 0; i < in->lib.num_components; i++) {
        if (in->lib.comp_info[i].quant_table == NULL)
            refuse((j_common_ptr)&in->lib, "component %d is in no scan", i);
        for (int k = 0; in->lib.progressive_mode && k < DCTSIZE2; k++)
            if (in->lib.coef_bits[i][k] > 0 || (k == 0 && in->lib.coef_bits[i][0] < 0))
                refuse((j_common_ptr)&in->lib, "progressive scans are missing");
    }
}

static jvirt_barray_ptr *reader_coefficients(reader *in)
{
    reader_tables(in);
    jvirt_barray_ptr *coefficients = jpeg_read_coefficients(&in->lib);
    reader_complete(in);
    return coefficients;
}

/* ---- writing to memory ------------------------------------------------------------------------------------------------------ */

typedef struct {
    struct jpeg_compress_struct lib;
    struct jpeg_destination_mgr target;
    uint8_t *data;
    size_t size, limit; /* size: allocated, then (after target_done) written */
} writer;

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
        refuse((j_common_ptr)cinfo, "the answer is over %zu bytes", out->limit);
    target_resize(out, out->size > out->limit / 2 ? out->limit : out->size * 2);
    return TRUE;
}

static void target_done(j_compress_ptr cinfo)
{
    writer *out = cinfo->client_data;
    out->size -= out->target.free_in_buffer;
}

static void writer_open(writer *out, size_t guess, size_t limit)
{
    jpeg_create_compress(&out->lib);
    out->lib.client_data = out;
    out->limit = limit;
    out->target = (struct jpeg_destination_mgr){
        .init_destination = target_start,
        .empty_output_buffer = target_full,
        .term_destination = target_done,
    };
    out->lib.dest = &out->target;
    target_resize(out, guess < limit ? guess : limit);
}

/* Markers decide the colour, so they stay exactly as stored: libjpeg's own defaults would add JFIF to a bare YCbCr stream, and rewrite
 * the Adobe transform from the colour space it guessed. */
static void writer_markers(writer *out, const struct jpeg_decompress_struct *from)
{
    uint8_t adobe[] = {'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, from->Adobe_transform};
    if (from->saw_Adobe_marker)
        jpeg_write_marker(&out->lib, JPEG_APP0 + 14, adobe, sizeof adobe);
}

/* ---- crop ------------------------------------------------------------------------------------------------------------------- */

typedef struct {
    failure failed;
    reader in;
    writer out;
    const uint8_t *data;
    size_t size;
    unsigned width, height;
    int optimize;
    const turbo_limits *limits;
} crop_job;

/* 1 if no coefficient reaches past 10 bits, so that each of them, and the difference of any two, has a code in the standard tables.
 * libjpeg checks this only while it gathers statistics; with fixed tables it would write a broken stream. */
static int fits_standard_tables(crop_job *job, jvirt_barray_ptr *coefficients)
{
    struct jpeg_decompress_struct *in = &job->in.lib;
    int wide = 0;
    for (int i = 0; i < in->num_components; i++) {
        const jpeg_component_info *part = &in->comp_info[i];
        for (JDIMENSION y = 0; y < part->height_in_blocks; y++) {
            JCOEFPTR row = in->mem->access_virt_barray((j_common_ptr)in, coefficients[i], y, 1, FALSE)[0][0];
            for (size_t k = 0; k < (size_t)part->width_in_blocks * DCTSIZE2; k++)
                wide |= row[k] > 1023 || row[k] < -1023;
        }
    }
    return !wide;
}

/* The cut is anchored at 0,0: the writer, told a smaller size, takes the first blocks of the first rows of the reader's own arrays and
 * completes the last unit with empty blocks. */
static void crop_work(void *given)
{
    crop_job *job = given;
    reader_open(&job->in, job->data, job->size, job->limits);
    reader_header(&job->in);
    jvirt_barray_ptr *coefficients = reader_coefficients(&job->in);

    struct jpeg_compress_struct *out = &job->out.lib;
    writer_open(&job->out, job->size + 4096, job->limits->output);
    jpeg_copy_critical_parameters(&job->in.lib, out);
    out->image_width = job->width;
    out->image_height = job->height;
    out->optimize_coding = job->optimize || !fits_standard_tables(job, coefficients);
    out->write_JFIF_header = job->in.lib.saw_JFIF_marker;
    out->write_Adobe_marker = FALSE;
    jpeg_write_coefficients(out, coefficients);
    writer_markers(&job->out, &job->in.lib);
    jpeg_finish_compress(out);
}

/* ---- entry points ----------------------------------------------------------------------------------------------------------- */

turbo_limits turbo_limits_for(unsigned width, unsigned height)
{
    return (turbo_limits){.width = width, .height = height, .scans = 100, .memory = 512 * MEBIBYTE, .output = 64 * MEBIBYTE};
}

int turbo_crop(const uint8_t *data, size_t size, unsigned width, unsigned height, int optimize, const turbo_limits *limits,
               turbo_answer *answer)
{
    crop_job job = {.data = data, .size = size, .width = width, .height = height, .optimize = optimize, .limits = limits};
    job.in.lib.err = job.out.lib.err = failure_open(&job.failed, answer->message);
    int code = guarded(&job.failed, crop_work, &job);
    jpeg_destroy_compress(&job.out.lib);
    jpeg_destroy_decompress(&job.in.lib);
    if (code != TURBO_OK) {
        free(job.out.data);
        job.out.data = NULL;
        job.out.size = 0;
    }
    answer->data = job.out.data;
    answer->size = job.out.size;
    return code;
}
