/* Mirroring and quarter turns of one block of coefficients. */
#include "transcode.h"

/* A quarter turn clockwise is: swap the axes, then reverse x. */
turning turning_of(int turn, int mirror)
{
    turning turned = {.swap = turn == 90 || turn == 270};
    turned.reverse_x = turn == 90 || (turn == 0 && mirror) || (turn == 180 && !mirror);
    turned.reverse_y = turn == 180 || (turn == 90 && mirror) || (turn == 270 && !mirror);
    turned.from_x = turned.swap ? turned.reverse_y : turned.reverse_x;
    turned.from_y = turned.swap ? turned.reverse_x : turned.reverse_y;
    turned.as_is = !turned.swap && !turned.reverse_x && !turned.reverse_y;
    for (int i = 0; i < DCTSIZE2; i++) {
        int u = i % DCTSIZE, v = i / DCTSIZE;
        turned.sign[i] = ((turned.reverse_x && u % 2) != (turned.reverse_y && v % 2)) ? -1 : 1;
    }
    return turned;
}

/* In two loops: compilers make vectors of each, but not of both in one. */
static void swap_axes(const JCOEF *restrict from, JCOEF *restrict to)
{
    for (int v = 0; v < DCTSIZE; v++)
        for (int u = 0; u < DCTSIZE; u++)
            to[v * DCTSIZE + u] = from[u * DCTSIZE + v];
}

void turn_block(const turning *turned, const JCOEF *restrict from, JCOEF *restrict to)
{
    JBLOCK swapped;
    if (turned->swap) {
        swap_axes(from, swapped);
        from = swapped;
    }
    for (int i = 0; i < DCTSIZE2; i++)
        to[i] = (JCOEF)(from[i] * turned->sign[i]);
}

static void swap_table(JQUANT_TBL *table)
{
    for (int v = 0; v < DCTSIZE; v++)
        for (int u = 0; u < v; u++) {
            UINT16 kept = table->quantval[v * DCTSIZE + u];
            table->quantval[v * DCTSIZE + u] = table->quantval[u * DCTSIZE + v];
            table->quantval[u * DCTSIZE + v] = kept;
        }
}

void turn_tables(const turning *turned, struct jpeg_compress_struct *out)
{
    for (int n = 0; turned->swap && n < NUM_QUANT_TBLS; n++)
        if (out->quant_tbl_ptrs[n])
            swap_table(out->quant_tbl_ptrs[n]);
}
