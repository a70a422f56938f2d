/* A JPEG read from memory, strictly: what is cut off, over a limit or only half there is an error. */
#include "inside.h"

#include <string.h>

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
    if (in->lib.input_scan_number > MOST_SCANS)
        refuse(cinfo, TURBO_BAD, "more than %d scans", MOST_SCANS);
}

void reader_open(reader *in, turbo_bytes jpeg)
{
    jpeg_create_decompress(&in->lib);
    in->reading = 0;
    in->lib.client_data = in;
    in->lib.mem->max_memory_to_use = (long)MOST_MEMORY; /* Debian's build has no backing store: over this is an error, never a file */
    in->source = (struct jpeg_source_mgr){
        .next_input_byte = jpeg.data,
        .bytes_in_buffer = jpeg.size,
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

void reader_header(reader *in)
{
    j_common_ptr cinfo = (j_common_ptr)&in->lib;
    jpeg_read_header(&in->lib, TRUE);
    if (in->lib.num_components != 1 && in->lib.num_components != 3)
        refuse(cinfo, TURBO_BAD, "a JPEG of %d components is not served", in->lib.num_components);
    if (in->lib.arith_code)
        refuse(cinfo, TURBO_BAD, "arithmetic coding is not served");
}

void reader_expect(reader *in, turbo_size size)
{
    if (in->lib.image_width != size.width || in->lib.image_height != size.height)
        refuse((j_common_ptr)&in->lib, TURBO_BAD, "the JPEG is %ux%u px, expected %ux%u", in->lib.image_width,
               in->lib.image_height, size.width, size.height);
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
    j_common_ptr cinfo = (j_common_ptr)&in->lib;
    for (int i = 0; i < in->lib.num_components; i++) {
        if (in->lib.comp_info[i].quant_table == NULL)
            refuse(cinfo, TURBO_BAD, "component %d is in no scan", i);
        for (int k = 0; in->lib.progressive_mode && k < DCTSIZE2; k++)
            if (in->lib.coef_bits[i][k] > 0 || (k == 0 && in->lib.coef_bits[i][0] < 0))
                refuse(cinfo, TURBO_BAD, "progressive scans are missing");
    }
}

void reader_start(reader *in)
{
    reader_tables(in);
    jpeg_start_decompress(&in->lib);
    if (!in->lib.buffered_image)
        reader_complete(in);
}

/* Buffered-image mode is libjpeg's way to have the coefficients before the file was read to its end. */
jvirt_barray_ptr *reader_coefficients(reader *in, unsigned rows)
{
    in->lib.buffered_image = TRUE;
    reader_start(in);
    JDIMENSION needed = up(rows, (unsigned)in->lib.max_v_samp_factor * DCTSIZE);
    boolean whole = jpeg_has_multiple_scans(&in->lib) || needed >= in->lib.total_iMCU_rows;
    do
        reader_step((j_common_ptr)&in->lib);
    while (jpeg_consume_input(&in->lib) != JPEG_REACHED_EOI && (whole || in->lib.input_iMCU_row < needed));
    reader_complete(in);
    return jpeg_read_coefficients(&in->lib);
}

JBLOCKROW reader_row(reader *in, jvirt_barray_ptr array, unsigned row)
{
    return in->lib.mem->access_virt_barray((j_common_ptr)&in->lib, array, row, 1, FALSE)[0];
}

turbo_size reader_mcu(const reader *in)
{
    const struct jpeg_decompress_struct *lib = &in->lib;
    if (lib->num_components == 1)
        return (turbo_size){DCTSIZE, DCTSIZE};
    return (turbo_size){DCTSIZE * (unsigned)lib->max_h_samp_factor, DCTSIZE * (unsigned)lib->max_v_samp_factor};
}

/* ---- the header alone ------------------------------------------------------------------------------------------------------- */

typedef struct {
    failure failed;
    reader in;
    turbo_bytes jpeg;
    turbo_size *mcu;
} mcu_job;

static void mcu_work(void *given)
{
    mcu_job *job = given;
    reader_open(&job->in, job->jpeg);
    reader_header(&job->in);
    *job->mcu = reader_mcu(&job->in);
}

int turbo_mcu(turbo_bytes jpeg, turbo_size *mcu, char *message)
{
    mcu_job job = {.jpeg = jpeg, .mcu = mcu};
    job.in.lib.err = failure_open(&job.failed, message);
    int code = guarded(&job.failed, mcu_work, &job);
    jpeg_destroy_decompress(&job.in.lib);
    return code;
}
