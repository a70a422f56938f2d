/* Pictures in memory: RGB, 8 bits a sample, rows packed. Holds no state, makes no Python object. */
#ifndef PTIFFSERVE_RESAMPLE_H
#define PTIFFSERVE_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *pixels;
    size_t width, height;
} picture;

/* What of a picture is wanted, in its pixels; it may begin inside one and reach past the edges. */
typedef struct {
    double x, y, width, height;
} window;

/* Lanczos3, widened where the window shrinks; `out` has width x height pixels. -1 where there is no memory. */
int resample(const picture *from, const window *part, uint8_t *out, size_t width, size_t height);

#endif
