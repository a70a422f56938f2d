/* Work on whole JPEGs in memory with libjpeg-turbo. Holds no state, makes no Python object, never prints, never leaves by longjmp. */
#ifndef PTIFFSERVE_TURBO_H
#define PTIFFSERVE_TURBO_H

#include <stddef.h>
#include <stdint.h>

enum {
    TURBO_OK = 0,
    TURBO_BAD = 1,       /* the JPEG is corrupt, incomplete, over a limit or of a kind not served; `message` says which */
    TURBO_NO_MEMORY = 2, /* malloc failed: the machine's fault, not the JPEG's */
};

enum { TURBO_MESSAGE = 200 }; /* = JMSG_LENGTH_MAX, asserted in turbo.c */

/* What a JPEG may be and cost, decided before anything is allocated for it. */
typedef struct {
    unsigned width, height; /* px: the frame header must say exactly this */
    int scans;
    size_t memory; /* bytes for coefficient arrays */
    size_t output; /* bytes of one answer */
} turbo_limits;

typedef struct {
    uint8_t *data; /* malloc'd and the caller's to free when the code is TURBO_OK, else NULL */
    size_t size;
    char message[TURBO_MESSAGE]; /* set when the code is not TURBO_OK */
} turbo_answer;

/* The house limits for a tile of width x height px. */
turbo_limits turbo_limits_for(unsigned width, unsigned height);

/* Keeps the top-left width x height px (1..limits) without touching a kept coefficient. Returns a code above. */
int turbo_crop(const uint8_t *data, size_t size, unsigned width, unsigned height, int optimize, const turbo_limits *limits,
               turbo_answer *answer);

#endif
