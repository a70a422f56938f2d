/* The parts of a transcode: plan.c knows what may be done, turn.c turns one block, mosaic.c holds the answer's blocks. */
#ifndef PTIFFSERVE_TRANSCODE_H
#define PTIFFSERVE_TRANSCODE_H

#include "inside.h"

/* Mirroring and turning as one: first swap the axes, then reverse them. */
typedef struct {
    int swap, reverse_x, reverse_y; /* reversed in the answer */
    int from_x, from_y;             /* reversed, named by the axis of the box */
    int as_is;
    JCOEF sign[DCTSIZE2]; /* of the answer's coefficients beside the stored ones */
} turning;

turning turning_of(int turn, int mirror);
void turn_block(const turning *turned, const JCOEF *from, JCOEF *to);
void turn_tables(const turning *turned, struct jpeg_compress_struct *out);

/* What the tiles of one answer have in common; the first tile sets it. */
typedef struct {
    int components, ids[3];
    turbo_size sampling[3], most, mcu;
    UINT16 quantisers[3][DCTSIZE2];
    J_COLOR_SPACE colour;
    int jfif, adobe, transform;
} model;

/* Of a tile whose coefficients were read. */
model model_of(const reader *in);

/* Refuses as not lossless where a tile cannot lie beside those of `common`. */
void model_match(const model *common, const model *one, j_common_ptr cinfo);

/* Refuses as not lossless what cannot be cut or turned on this block grid. */
void model_suits(const model *common, const turbo_view *asked, const turning *turned, j_common_ptr cinfo);

/* Blocks that a component has in so many pixels from a border of the grid. */
turbo_size blocks_in(const model *common, int component, unsigned width, unsigned height);

/* A part of one tile: its pixels, and where they lie in the box. */
typedef struct {
    unsigned left, top, width, height, to_x, to_y;
} patch;

/* The answer's coefficients, turned already. */
typedef struct {
    const model *common;
    const turning *turned;
    int components;
    turbo_size blocks[3]; /* in the box, not turned */
    jvirt_barray_ptr arrays[3];
    JBLOCKARRAY rows[3]; /* of `arrays`, all of them */
} mosaic;

/* Takes zeroed memory from `out`, whose components have their factors. */
void mosaic_open(mosaic *all, struct jpeg_compress_struct *out, const turbo_view *asked);
void mosaic_place(mosaic *all, reader *in, jvirt_barray_ptr *arrays, const patch *part);
void mosaic_white(mosaic *all, const patch *part, j_common_ptr cinfo);

#endif
