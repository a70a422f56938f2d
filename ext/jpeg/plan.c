/* What may be done to coefficients and what may not. */
#include "transcode.h"

#include <string.h>

model model_of(const reader *in)
{
    const struct jpeg_decompress_struct *lib = &in->lib;
    model one = {
        .components = lib->num_components,
        .most = {(unsigned)lib->max_h_samp_factor, (unsigned)lib->max_v_samp_factor},
        .mcu = reader_mcu(in),
        .colour = lib->jpeg_color_space,
        .jfif = lib->saw_JFIF_marker,
        .adobe = lib->saw_Adobe_marker,
        .transform = lib->Adobe_transform,
    };
    for (int i = 0; i < one.components; i++) {
        const jpeg_component_info *part = &lib->comp_info[i];
        one.ids[i] = part->component_id;
        one.sampling[i] = (turbo_size){(unsigned)part->h_samp_factor, (unsigned)part->v_samp_factor};
        memcpy(one.quantisers[i], part->quant_table->quantval, sizeof one.quantisers[i]);
    }
    return one;
}

static int same_component(const model *a, const model *b, int i)
{
    return a->ids[i] == b->ids[i] && a->sampling[i].width == b->sampling[i].width &&
           a->sampling[i].height == b->sampling[i].height;
}

void model_match(const model *common, const model *one, j_common_ptr cinfo)
{
    if (common->components != one->components)
        refuse(cinfo, TURBO_NOT_LOSSLESS, "tiles of %d and of %d components", common->components, one->components);
    if (common->colour != one->colour || common->jfif != one->jfif || common->adobe != one->adobe ||
        common->transform != one->transform)
        refuse(cinfo, TURBO_NOT_LOSSLESS, "tiles whose markers tell of different colours");
    for (int i = 0; i < one->components; i++) {
        if (!same_component(common, one, i))
            refuse(cinfo, TURBO_NOT_LOSSLESS, "tiles of different sampling or component ids");
        if (memcmp(common->quantisers[i], one->quantisers[i], sizeof one->quantisers[i]) != 0)
            refuse(cinfo, TURBO_NOT_LOSSLESS, "tiles of different quantisation");
    }
}

/* The box starts on the grid of its tile, and tiles that others join end on it. */
static int on_grid(unsigned start, unsigned tile, unsigned tiles, unsigned unit)
{
    return start % unit == 0 && (tiles == 1 || tile % unit == 0);
}

void model_suits(const model *common, const turbo_view *asked, const turning *turned, j_common_ptr cinfo)
{
    const turbo_box *box = &asked->box;
    turbo_size unit = common->mcu, want = asked->sampling;
    if (want.width && (want.width != common->sampling[0].width || want.height != common->sampling[0].height))
        refuse(cinfo, TURBO_NOT_LOSSLESS, "sampling %ux%u, expected %ux%u", common->sampling[0].width, common->sampling[0].height,
               want.width, want.height);
    if (!on_grid(box->x, asked->tile.width, asked->across, unit.width) ||
        !on_grid(box->y, asked->tile.height, asked->down, unit.height))
        refuse(cinfo, TURBO_NOT_LOSSLESS, "not on the block grid of %ux%u px", unit.width, unit.height);
    if ((turned->from_x && box->width % unit.width) || (turned->from_y && box->height % unit.height))
        refuse(cinfo, TURBO_NOT_LOSSLESS, "turning would put a part of a block of %ux%u px first", unit.width, unit.height);
    if (asked->gray && common->colour == JCS_RGB)
        refuse(cinfo, TURBO_NOT_LOSSLESS, "RGB has no component of lightness");
}

turbo_size blocks_in(const model *common, int component, unsigned width, unsigned height)
{
    turbo_size factors = common->sampling[component];
    return (turbo_size){up(width * factors.width, DCTSIZE * common->most.width),
                        up(height * factors.height, DCTSIZE * common->most.height)};
}
