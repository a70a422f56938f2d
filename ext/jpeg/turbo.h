/* Work on whole JPEGs in memory with libjpeg-turbo. Holds no state, makes no Python object, never prints, never leaves by longjmp. */
#ifndef PTIFFSERVE_TURBO_H
#define PTIFFSERVE_TURBO_H

#include <stddef.h>
#include <stdint.h>

enum {
    TURBO_OK = 0,
    TURBO_BAD = 1,          /* the JPEG is corrupt, incomplete, over a limit or of a kind not served; `message` says which */
    TURBO_NO_MEMORY = 2,    /* malloc failed: the machine's fault, not the JPEG's */
    TURBO_NOT_LOSSLESS = 3, /* sound JPEGs, but what is asked cannot be made of their coefficients; `message` says why */
};

enum { TURBO_MESSAGE = 200 }; /* = JMSG_LENGTH_MAX, asserted in fail.c */

typedef struct {
    const uint8_t *data; /* NULL: there is none (a sparse tile) */
    size_t size;
} turbo_bytes;

/* In pixels. */
typedef struct {
    unsigned width, height;
} turbo_size;

typedef struct {
    unsigned x, y, width, height;
} turbo_box;

typedef struct {
    uint8_t *data; /* malloc'd and the caller's to free when the code is TURBO_OK, else NULL */
    size_t size;
    char message[TURBO_MESSAGE]; /* set when the code is not TURBO_OK */
} turbo_answer;

/* The size of one MCU, from the header. */
int turbo_mcu(turbo_bytes jpeg, turbo_size *mcu, char *message);

typedef struct {
    turbo_bytes jpeg;
    turbo_size tile;  /* the frame header must say exactly this */
    turbo_box window; /* in the tile shrunk by `shrink`, not empty, inside it */
    unsigned shrink;  /* 1, 2, 4 or 8 */
    uint8_t *out;     /* rows of 3 x window.width bytes, `stride` apart */
    size_t stride;
} turbo_decoding;

int turbo_decode(const turbo_decoding *asked, char *message);

typedef struct {
    const uint8_t *pixels;
    size_t stride;
    turbo_size size;
    int bands;         /* 1 or 3 */
    int gray;          /* write one component, whatever `bands` */
    int quality;       /* 1..100 */
    int across, down;  /* luma samples to one of chroma: 1 or 2 */
    int optimize;
    turbo_bytes icc;
} turbo_encoding;

int turbo_encode(const turbo_encoding *asked, turbo_answer *answer);

typedef struct {
    const turbo_bytes *tiles; /* row by row, all of them touched by the box */
    unsigned across, down;
    turbo_size tile; /* each frame header must say exactly this */
    turbo_box box;   /* in the mosaic of the tiles, not empty, inside it */
    int turn;        /* clockwise: 0, 90, 180 or 270, after mirroring left to right */
    int mirror, gray, optimize;
    turbo_size sampling; /* promised factors of the first component, or 0,0 */
    unsigned col, row;   /* of the first tile, for messages */
} turbo_view;

int turbo_transcode(const turbo_view *asked, turbo_answer *answer);

#endif
