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
        turned.order[i] = (uint8_t)(turned.swap ? u * DCTSIZE + v : i);
        turned.sign[i] = ((turned.reverse_x && u % 2) != (turned.reverse_y && v % 2)) ? -1 : 1;
    }
    return turned;
}

void turn_block(const turning *turned, const JCOEF *restrict from, JCOEF *restrict to)
{
    if (turned->swap)
        for (int i = 0; i < DCTSIZE2; i++)
            to[i] = (JCOEF)(from[turned->order[i]] * turned->sign[i]);
    else
        for (int i = 0; i < DCTSIZE2; i++)
            to[i] = (JCOEF)(from[i] * turned->sign[i]);
}

void turn_tables(const turning *turned, struct jpeg_compress_struct *out)
{
    for (int n = 0; turned->swap && n < NUM_QUANT_TBLS; n++) {
        JQUANT_TBL *table = out->quant_tbl_ptrs[n];
        for (int i = 0; table && i < DCTSIZE2; i++) {
            int other = turned->order[i];
            if (other > i) {
                UINT16 kept = table->quantval[i];
                table->quantval[i] = table->quantval[other];
                table->quantval[other] = kept;
            }
        }
    }
}
