/* What libwebp gets of RGBA pixels: their mask as a picture of its own, and their colours without what cannot be seen. */

#include "common.h"

enum { BLOCK = 8 }; /* pixels a side */
enum { UNFILTERED = 0, HORIZONTAL = 1, GRADIENT = 3 }; /* as in an ALPH chunk (RFC 9649, 2.7.1.2) */

typedef struct { uint8_t bytes[4]; } Pixel;

LOOP void take_mask(const Pixel *restrict pixels, uint8_t *restrict mask, int64_t width)
{
    for (int64_t x = 0; x < width; x++)
        mask[x] = pixels[x].bytes[3];
}

LOOP void differ_from_gradient(const uint8_t *restrict here, const uint8_t *restrict left, const uint8_t *restrict above,
                               const uint8_t *restrict corner, uint8_t *restrict differences, int64_t width)
{
    for (int64_t x = 0; x < width; x++) {
        int16_t guess = (int16_t)(left[x] + above[x] - corner[x]);
        guess = guess < 0 ? 0 : guess > 255 ? 255 : guess;
        differences[x] = (uint8_t)(here[x] - guess);
    }
}

LOOP void differ_from_left(const uint8_t *restrict here, const uint8_t *restrict left, uint8_t *restrict differences,
                           int64_t width)
{
    for (int64_t x = 0; x < width; x++)
        differences[x] = (uint8_t)(here[x] - left[x]);
}

/* In the green channel; the red one of odd values is 255 if they are marked. */
LOOP void write_green(const uint8_t *restrict values, Pixel *restrict image, uint8_t marked, int64_t width)
{
    for (int64_t x = 0; x < width; x++)
        image[x] = (Pixel){{(uint8_t)(-(values[x] & 1) & marked), values[x], 0, 0}};
}

/* The mask of pixels, filtered, as a picture. pixels, image: height x width x 4; room: 3 x width bytes. */
void webp_mask(const Pixel *pixels, int64_t height, int64_t width, int32_t filter, Pixel *image, uint8_t *room)
{
    uint8_t *here = room, *above = room + width, *differences = room + 2 * width;
    for (int64_t y = 0; y < height; y++, pixels += width, image += width) {
        uint8_t *const last = above;
        take_mask(pixels, here, width);
        if (filter == UNFILTERED) {
            write_green(here, image, 0, width);
            continue;
        }
        differences[0] = (uint8_t)(here[0] - (y > 0 ? above[0] : 0));
        if (filter == HORIZONTAL || y == 0)
            differ_from_left(here + 1, here, differences + 1, width - 1);
        else
            differ_from_gradient(here + 1, here, above + 1, above, differences + 1, width - 1);
        write_green(differences, image, filter == GRADIENT ? 255 : 0, width);
        above = here, here = last;
    }
}

/* A block that is partly visible: what is not gets the mean of the visible pixels of its square of 2 x 2, or of the block's. */
INLINE void fill_block(Pixel *block, int64_t down)
{
    uint32_t totals[BLOCK / 2][BLOCK / 2][4] = {{{0}}}, counts[BLOCK / 2][BLOCK / 2] = {{0}}, total[4] = {0}, count = 0;
    for (int y = 0; y < BLOCK; y++)
        for (int x = 0; x < BLOCK; x++) {
            const Pixel pixel = block[y * down + x];
            const uint32_t visible = pixel.bytes[3] > 0;
            counts[y / 2][x / 2] += visible;
            count += visible;
            for (int i = 0; i < 4; i++) {
                totals[y / 2][x / 2][i] += pixel.bytes[i] * visible;
                total[i] += pixel.bytes[i] * visible;
            }
        }
    for (int y = 0; y < BLOCK; y++)
        for (int x = 0; x < BLOCK; x++) {
            Pixel *const pixel = block + y * down + x;
            if (pixel->bytes[3] > 0)
                continue;
            const uint32_t *const sum = counts[y / 2][x / 2] > 0 ? totals[y / 2][x / 2] : total;
            const uint32_t divisor = counts[y / 2][x / 2] > 0 ? counts[y / 2][x / 2] : count;
            for (int i = 0; i < 4; i++)
                pixel->bytes[i] = (uint8_t)(sum[i] / divisor);
        }
}

/* How many of a block's pixels are visible. */
LOOP int32_t count_visible(const Pixel *block, int64_t down)
{
    int32_t count = 0;
    for (int y = 0; y < BLOCK; y++)
        for (int x = 0; x < BLOCK; x++)
            count += block[y * down + x].bytes[3] > 0;
    return count;
}

/* Changes pixels that cannot be seen. pixels: height x width x 4, both multiples of BLOCK. */
void webp_colours(Pixel *pixels, int64_t height, int64_t width)
{
    for (int64_t top = 0; top < height; top += BLOCK, pixels += BLOCK * width) {
        Pixel clear = {{0}};
        int32_t before = BLOCK * BLOCK; /* visible pixels of the block to the left */
        for (int64_t left = 0; left < width; left += BLOCK) {
            Pixel *const block = pixels + left;
            const int32_t visible = count_visible(block, width);
            if (visible == 0) {
                if (before > 0)
                    clear = block[0];
                for (int y = 0; y < BLOCK; y++)
                    for (int x = 0; x < BLOCK; x++)
                        block[y * width + x] = clear;
            } else if (visible < BLOCK * BLOCK) {
                fill_block(block, width);
            }
            before = visible;
        }
    }
}
