/* A separable filter, one row of the answer at a time: rows of the picture are summed into one row of floats, which stays in the
 * processor's first cache, and that row is filtered along. Weights of taps past the edge are shared among those inside. */
#include "resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LOBES = 3, BANDS = 3 };

/* The loops below are written so that the compiler makes vectors of them: wide ones where the processor has them. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define WIDE __attribute__((target_clones("avx2,fma", "default")))
#else
#define WIDE
#endif

/* For each pixel of the answer, which pixels of one axis it is made of. */
typedef struct {
    size_t *first, *count;
    float *weights; /* `most` for each pixel */
    size_t most;
} taps;

static double lanczos(double x)
{
    if (x == 0)
        return 1;
    if (fabs(x) >= LOBES)
        return 0;
    return LOBES * sin(M_PI * x) * sin(M_PI * x / LOBES) / (M_PI * M_PI * x * x);
}

static size_t within(double at, size_t most)
{
    return at <= 0 ? 0 : at >= (double)most ? most : (size_t)at;
}

/* The weights of one pixel, whose middle lies at `middle` of `side` pixels; `stretch` widens the filter. */
static void taps_fill(taps *out, size_t pixel, double middle, double stretch, size_t side)
{
    size_t first = within(middle - LOBES * stretch + 0.5, side - 1);
    size_t end = within(middle + LOBES * stretch + 0.5, side);
    float *weights = out->weights + pixel * out->most;
    double sum = 0;
    for (size_t i = first; i < end; i++)
        sum += weights[i - first] = (float)lanczos(((double)i + 0.5 - middle) / stretch);
    for (size_t i = first; i < end; i++)
        weights[i - first] /= (float)sum;
    out->first[pixel] = first;
    out->count[pixel] = end - first;
}

/* A pixel that lies past the picture's edge is taken from the edge. */
static double onto(double middle, size_t side)
{
    return middle < 0 ? 0 : middle > (double)side ? (double)side : middle;
}

static int taps_make(taps *out, double start, double extent, size_t side, size_t pixels)
{
    double scale = extent / (double)pixels, stretch = scale > 1 ? scale : 1;
    double most = 2 * LOBES * stretch + 2;
    out->most = most < (double)side ? (size_t)most : side;
    out->first = malloc(pixels * sizeof *out->first);
    out->count = malloc(pixels * sizeof *out->count);
    out->weights = malloc(pixels * out->most * sizeof *out->weights);
    if (out->first == NULL || out->count == NULL || out->weights == NULL)
        return -1;
    for (size_t i = 0; i < pixels; i++)
        taps_fill(out, i, onto(start + ((double)i + 0.5) * scale, side), stretch, side);
    return 0;
}

static void taps_free(taps *out)
{
    free(out->first);
    free(out->count);
    free(out->weights);
}

/* Four rows at once: the sums are read and written as seldom as that. Rows past the last have no weight. */
WIDE static void add_rows(float *restrict sum, const uint8_t *const rows[4], size_t samples, const float weights[4])
{
    const uint8_t *restrict a = rows[0], *restrict b = rows[1], *restrict c = rows[2], *restrict d = rows[3];
    float wa = weights[0], wb = weights[1], wc = weights[2], wd = weights[3];
    for (size_t i = 0; i < samples; i++)
        sum[i] += (wa * (float)a[i] + wb * (float)b[i]) + (wc * (float)c[i] + wd * (float)d[i]);
}

static void sum_rows(const picture *from, const taps *down, size_t y, float *sum)
{
    size_t samples = BANDS * from->width, count = down->count[y];
    const uint8_t *first = from->pixels + down->first[y] * samples;
    const float *weights = down->weights + y * down->most;
    for (size_t i = 0; i <= samples; i++)
        sum[i] = 0;
    for (size_t k = 0; k < count; k += 4) {
        const uint8_t *rows[4];
        float some[4];
        for (size_t i = 0; i < 4; i++) {
            rows[i] = first + (k + i < count ? k + i : k) * samples;
            some[i] = k + i < count ? weights[k + i] : 0;
        }
        add_rows(sum, rows, samples, some);
    }
}

typedef float four __attribute__((vector_size(16)));

static inline four load(const float *at)
{
    four value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint8_t sample(float value)
{
    value += 0.5f;
    return value <= 0 ? 0 : value >= 255 ? 255 : (uint8_t)value;
}

/* `row` has one sample more than its pixels: four are read at once, of which three count. */
WIDE static void filter_row(const taps *across, const float *restrict row, uint8_t *restrict out, size_t width)
{
    for (size_t x = 0; x < width; x++, out += BANDS) {
        const float *from = row + BANDS * across->first[x], *weights = across->weights + x * across->most;
        size_t count = across->count[x], k = 0;
        four even = {0}, odd = {0};
        for (; k + 2 <= count; k += 2) {
            even += weights[k] * load(from + BANDS * k);
            odd += weights[k + 1] * load(from + BANDS * (k + 1));
        }
        if (k < count)
            even += weights[k] * load(from + BANDS * k);
        even += odd;
        for (size_t band = 0; band < BANDS; band++)
            out[band] = sample(even[band]);
    }
}

static void filter(const picture *from, const taps *across, const taps *down, float *row, uint8_t *out, size_t width, size_t height)
{
    for (size_t y = 0; y < height; y++) {
        sum_rows(from, down, y, row);
        filter_row(across, row, out + y * BANDS * width, width);
    }
}

int resample(const picture *from, const window *part, uint8_t *out, size_t width, size_t height)
{
    taps across = {0}, down = {0};
    float *row = malloc((BANDS * from->width + 1) * sizeof *row);
    int failed = row == NULL || taps_make(&across, part->x, part->width, from->width, width) ||
                 taps_make(&down, part->y, part->height, from->height, height);
    if (!failed)
        filter(from, &across, &down, row, out, width, height);
    taps_free(&across);
    taps_free(&down);
    free(row);
    return failed ? -1 : 0;
}
