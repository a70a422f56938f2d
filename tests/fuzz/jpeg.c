/* Mutates JPEGs and gives them to the engine; what is accepted must be consistent. Built with sanitizers by test_jpeg_fuzz.py.
 *
 *   jpeg ROUNDS SEED WIDTH HEIGHT FILE...      all files are JPEGs of WIDTH x HEIGHT px
 *
 * Prints how many rounds ended well, were refused as corrupt, or as not lossless. A broken promise aborts.
 */
#include "turbo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 16, FILES = 64 };

static struct {
    uint8_t data[MOST];
    size_t size;
} seeds[FILES];
static unsigned files;
static turbo_size tile;
static uint64_t state;
static unsigned long outcomes[4];

static unsigned roll(unsigned below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 16) % below);
}

static void need(int holds, const char *promise)
{
    if (holds)
        return;
    fprintf(stderr, "broken: %s\n", promise);
    abort();
}

static void load(const char *path)
{
    FILE *file = fopen(path, "rb");
    need(file != NULL && files < FILES, "seeds can be read");
    seeds[files].size = fread(seeds[files].data, 1, MOST, file);
    files++;
    fclose(file);
}

/* ---- mutations -------------------------------------------------------------------------------------------------------------- */

static const uint8_t telling[] = {0, 1, 0x11, 0x22, 0x3F, 0x7F, 0x80, 0xC0, 0xC2, 0xC4, 0xD0, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xFE, 0xFF};

static size_t mutate(uint8_t *data, size_t size)
{
    size_t at = roll((unsigned)size), count = roll(40) + 1;
    unsigned other = roll(files);
    switch (roll(8)) {
    case 0: /* a byte */
        data[at] = (uint8_t)roll(256);
        return size;
    case 1: /* a bit */
        data[at] ^= (uint8_t)(1 << roll(8));
        return size;
    case 2: /* a marker */
        data[at] = 0xFF;
        data[at + 1 < size ? at + 1 : 0] = telling[roll(sizeof telling)];
        return size;
    case 3: /* bytes lost */
        count = at + count < size ? count : size - at;
        memmove(data + at, data + at + count, size - at - count);
        return size - count > 4 ? size - count : 4;
    case 4: /* bytes twice */
        count = size + count < MOST && at + count < size ? count : 0;
        memmove(data + at + count, data + at, size - at);
        return size + count;
    case 5: /* bytes of another file */
        for (size_t i = 0; i < count && at + i < size && at + i < seeds[other].size; i++)
            data[at + i] = seeds[other].data[at + i];
        return size;
    case 6: /* an end too early */
        return roll(8) ? size : at + 4 < size ? at + 4 : size;
    default:
        data[at] = telling[roll(sizeof telling)];
        return size;
    }
}

/* ---- promises --------------------------------------------------------------------------------------------------------------- */

/* In a buffer of its exact size: the sanitizer sees a byte too many. */
static uint8_t *decoded(turbo_bytes jpeg, turbo_box window, unsigned shrink, int *code)
{
    char message[TURBO_MESSAGE];
    size_t stride = 3 * (size_t)window.width;
    uint8_t *out = malloc(stride * window.height);
    turbo_decoding asked = {jpeg, tile, window, shrink, out, stride};
    *code = turbo_decode(&asked, message);
    return out;
}

static turbo_box any_box(turbo_size within)
{
    turbo_box box = {.x = roll(within.width), .y = roll(within.height)};
    box.width = 1 + roll(within.width - box.x);
    box.height = 1 + roll(within.height - box.y);
    return box;
}

/* From the first tile to the last of `tiles` along one axis. */
static unsigned length(unsigned tiles, unsigned side, unsigned from, unsigned step)
{
    return tiles * side - from - roll(tiles > 1 ? side : side - from) / step * step;
}

static turbo_box touching(unsigned across, unsigned down, unsigned step)
{
    turbo_box box = {.x = roll(tile.width) / step * step, .y = roll(tile.height) / step * step};
    box.width = length(across, tile.width, box.x, step);
    box.height = length(down, tile.height, box.y, step);
    return box;
}

static void try_decode(turbo_bytes jpeg)
{
    unsigned shrink = 1u << roll(4);
    turbo_size size = {(tile.width + shrink - 1) / shrink, (tile.height + shrink - 1) / shrink};
    turbo_box all = {0, 0, size.width, size.height}, window = any_box(size);
    int code, part;
    uint8_t *whole = decoded(jpeg, all, shrink, &code), *cut = decoded(jpeg, window, shrink, &part);
    outcomes[code]++;
    need(code != TURBO_OK || part == TURBO_OK, "a window of a good picture is good");
    for (unsigned y = 0; code == TURBO_OK && y < window.height; y++)
        need(!memcmp(cut + 3 * (size_t)y * window.width, whole + 3 * ((size_t)(window.y + y) * size.width + window.x),
                     3 * (size_t)window.width),
             "a window is the whole picture's");
    free(whole);
    free(cut);
}

static int transcoded(turbo_bytes jpeg, turbo_answer *answer, turbo_size *size)
{
    static const turbo_bytes none;
    turbo_bytes good = {seeds[0].data, seeds[0].size};
    turbo_bytes four[4] = {jpeg, roll(2) ? jpeg : none, roll(2) ? jpeg : none, roll(3) ? jpeg : good};
    turbo_view asked = {.tiles = four, .across = 1 + roll(2), .down = 1 + roll(2), .tile = tile, .turn = 90 * (int)roll(4)};
    asked.mirror = (int)roll(2);
    asked.gray = (int)roll(3) == 0;
    asked.optimize = (int)roll(2);
    asked.box = touching(asked.across, asked.down, roll(4) ? 16 : 1);
    *size = asked.turn % 180 ? (turbo_size){asked.box.height, asked.box.width} : (turbo_size){asked.box.width, asked.box.height};
    return turbo_transcode(&asked, answer);
}

static void try_transcode(turbo_bytes jpeg)
{
    turbo_answer answer, again;
    turbo_size size;
    int code = transcoded(jpeg, &answer, &size);
    outcomes[code]++;
    if (code != TURBO_OK) {
        need(answer.data == NULL && memchr(answer.message, 0, TURBO_MESSAGE), "a refusal says why");
        return;
    }
    turbo_bytes made = {answer.data, answer.size};
    turbo_view same = {.tiles = &made, .across = 1, .down = 1, .tile = size, .box = {0, 0, size.width, size.height}};
    need(turbo_transcode(&same, &again) == TURBO_OK, "an answer can be read again");
    free(answer.data);
    free(again.data);
}

int main(int count, char **arguments)
{
    static uint8_t data[2 * MOST];
    need(count > 5, "usage: ROUNDS SEED WIDTH HEIGHT FILE...");
    state = strtoull(arguments[2], NULL, 10) * 0x9E3779B97F4A7C15u + 1;
    tile = (turbo_size){(unsigned)atoi(arguments[3]), (unsigned)atoi(arguments[4])};
    for (int i = 5; i < count; i++)
        load(arguments[i]);
    for (unsigned long n = strtoul(arguments[1], NULL, 10); n > 0; n--) {
        unsigned one = roll(files);
        size_t size = seeds[one].size;
        memcpy(data, seeds[one].data, size);
        for (unsigned times = 1 + roll(4); times > 0; times--)
            size = mutate(data, size);
        uint8_t *exact = memcpy(malloc(size), data, size);
        turbo_bytes jpeg = {exact, size};
        (roll(2) ? try_decode : try_transcode)(jpeg);
        free(exact);
    }
    printf("%lu good, %lu corrupt, %lu not lossless, %lu without memory\n", outcomes[TURBO_OK], outcomes[TURBO_BAD],
           outcomes[TURBO_NOT_LOSSLESS], outcomes[TURBO_NO_MEMORY]);
    return 0;
}
