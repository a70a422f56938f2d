/* What the C files of this room share: failing by longjmp, reading from memory, writing to memory.
 *
 * An entry point owns a job struct, passes it to guarded() with the function that does the work, and frees everything afterwards,
 * whatever happened. The job lives outside the function that calls setjmp, so longjmp leaves none of it indeterminate (C11 7.13.2.1).
 */
#ifndef PTIFFSERVE_INSIDE_H
#define PTIFFSERVE_INSIDE_H

#include "turbo.h"

#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

#include <jerror.h>

#define MEBIBYTE ((size_t)1 << 20)

/* House limits of one JPEG, in force before anything is allocated for it. */
#define MOST_SCANS 100
#define MOST_MEMORY (512 * MEBIBYTE) /* of coefficient arrays */
#define MOST_OUTPUT (64 * MEBIBYTE)  /* of an answer whose size the input decides */

static inline unsigned up(unsigned a, unsigned b)
{
    return a / b + (a % b != 0);
}

/* ---- fail.c ----------------------------------------------------------------------------------------------------------------- */

typedef struct {
    struct jpeg_error_mgr lib; /* first: libjpeg hands its address back */
    jmp_buf escape;
    int code;
    char *message;
} failure;

struct jpeg_error_mgr *failure_open(failure *failed, char *message);

/* Runs work(job); the code of what went wrong in it, or TURBO_OK. */
int guarded(failure *failed, void (*work)(void *), void *job);

_Noreturn void refuse(j_common_ptr cinfo, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- reader.c --------------------------------------------------------------------------------------------------------------- */

typedef struct {
    struct jpeg_decompress_struct lib;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    int reading;
    JHUFF_TBL *dc[NUM_HUFF_TBLS], *ac[NUM_HUFF_TBLS]; /* as the file defined them ahead of its first scan */
} reader;

void reader_open(reader *in, turbo_bytes jpeg);

/* Reads up to the first scan. Nothing the size of the picture has been allocated yet. */
void reader_header(reader *in);

/* Refuses frames of another size. */
void reader_expect(reader *in, turbo_size size);

/* Instead of jpeg_start_decompress. A JPEG of several scans has been read to its end afterwards, and is complete. */
void reader_start(reader *in);

/* The coefficients of at least the first `rows` rows of pixels. A JPEG of one scan is read no further than that. */
jvirt_barray_ptr *reader_coefficients(reader *in, unsigned rows);

/* One row of blocks of a component. */
JBLOCKROW reader_row(reader *in, jvirt_barray_ptr array, unsigned row);

/* Of a JPEG of one component it is one block, whatever its factors say (T.81 A.2.2). */
turbo_size reader_mcu(const reader *in);

/* ---- writer.c --------------------------------------------------------------------------------------------------------------- */

typedef struct {
    struct jpeg_compress_struct lib;
    struct jpeg_destination_mgr target;
    uint8_t *data;
    size_t size, limit; /* size: allocated, then (after jpeg_finish_compress) written */
} writer;

void writer_open(writer *out, size_t guess, size_t limit);

/* Frees all but the answer, and that too unless the code is TURBO_OK. Returns the code. */
int writer_close(writer *out, int code, turbo_answer *answer);

#endif
