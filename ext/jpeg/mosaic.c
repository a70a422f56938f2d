/* The blocks of an answer that is not simply the first rows and columns of one tile. */
#include "transcode.h"

#include <string.h>

/* Above this, a DC of 1 times the quantiser wraps around in decoders that mask instead of comparing. */
#define COARSEST_WHITE 4000

void mosaic_open(mosaic *all, struct jpeg_compress_struct *out, const turbo_view *asked)
{
    j_common_ptr cinfo = (j_common_ptr)out;
    JDIMENSION down[3];
    all->components = out->num_components;
    for (int i = 0; i < all->components; i++) {
        turbo_size blocks = all->blocks[i] = blocks_in(all->common, i, asked->box.width, asked->box.height);
        unsigned factor = (unsigned)out->comp_info[i].v_samp_factor; /* libjpeg takes so many rows at a time */
        down[i] = up(all->turned->swap ? blocks.width : blocks.height, factor) * factor;
        all->arrays[i] = out->mem->request_virt_barray(cinfo, JPOOL_IMAGE, TRUE,
                                                       all->turned->swap ? blocks.height : blocks.width, down[i], down[i]);
    }
    out->mem->realize_virt_arrays(cinfo);
    for (int i = 0; i < all->components; i++)
        all->rows[i] = out->mem->access_virt_barray(cinfo, all->arrays[i], 0, down[i], TRUE);
}

/* The block that shows the box's block x,y of a component. */
static JCOEFPTR target(const mosaic *all, int component, unsigned x, unsigned y)
{
    x = all->turned->from_x ? all->blocks[component].width - 1 - x : x;
    y = all->turned->from_y ? all->blocks[component].height - 1 - y : y;
    return all->turned->swap ? all->rows[component][x][y] : all->rows[component][y][x];
}

static void place_row(const mosaic *all, int component, JBLOCK *from, unsigned count, unsigned x, unsigned y)
{
    if (all->turned->as_is)
        memcpy(target(all, component, x, y), from, count * sizeof(JBLOCK));
    else
        for (unsigned i = 0; i < count; i++)
            turn_block(all->turned, from[i], target(all, component, x + i, y));
}

void mosaic_place(mosaic *all, reader *in, jvirt_barray_ptr *arrays, const patch *part)
{
    for (int i = 0; i < all->components; i++) {
        turbo_size first = blocks_in(all->common, i, part->left, part->top);
        turbo_size to = blocks_in(all->common, i, part->to_x, part->to_y);
        turbo_size count = blocks_in(all->common, i, part->width, part->height);
        for (unsigned y = 0; y < count.height; y++) {
            JBLOCKROW row = reader_row(in, arrays[i], first.height + y);
            place_row(all, i, row + first.width, count.width, to.width, to.height + y);
        }
    }
}

/* White has a DC of at least what 255 needs, for it may not fall short. Chroma, and all else, is 0 already. */
static void whiten(const mosaic *all, int component, const patch *part, JCOEF dc)
{
    turbo_size to = blocks_in(all->common, component, part->to_x, part->to_y);
    turbo_size count = blocks_in(all->common, component, part->width, part->height);
    for (unsigned y = 0; y < count.height; y++)
        for (unsigned x = 0; x < count.width; x++)
            target(all, component, to.width + x, to.height + y)[0] = dc;
}

void mosaic_white(mosaic *all, const patch *part, j_common_ptr cinfo)
{
    int filled = all->common->colour == JCS_RGB ? all->components : 1;
    for (int i = 0; i < filled; i++) {
        unsigned step = all->common->quantisers[i][0];
        if (step == 0 || step > COARSEST_WHITE)
            refuse(cinfo, TURBO_NOT_LOSSLESS, "a quantiser of %u has no white", step);
        whiten(all, i, part, (JCOEF)up(8 * 127, step));
    }
}
