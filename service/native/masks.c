/* Masks: what is in them, their levels, and pictures put together by them. */

#include "common.h"

/* Which blocks of `down` x `right` pixels have a pixel from `visible` on, and which have one below `solid`. */
CLONES void block_kinds(const float *alpha, int64_t height, int64_t width, int64_t down, int64_t right, float visible,
                        float solid, uint8_t *seen, uint8_t *mixed)
{
    const int64_t across = (width + right - 1) / right;
    for (int64_t top = 0; top < height; top += down, seen += across, mixed += across) {
        memset(seen, 0, (size_t)across);
        memset(mixed, 0, (size_t)across);
        for (int64_t y = top; y < smaller(top + down, height); y++, alpha += width)
            for (int64_t block = 0; block < across; block++) {
                int32_t any = 0, soft = 0;
                for (int64_t x = block * right; x < smaller(block * right + right, width); x++) {
                    any |= alpha[x] >= visible;
                    soft |= alpha[x] < solid;
                }
                seen[block] |= (uint8_t)any;
                mixed[block] |= (uint8_t)soft;
            }
    }
}

/* Whether any value lies outside low to high, or is none. */
CLONES int32_t any_outside(const float *values, int64_t count, float low, float high)
{
    int32_t found = 0;
    for (int64_t i = 0; i < count; i++)
        found |= !(values[i] >= low) | !(values[i] <= high);
    return found;
}

/* How many values are from `low` to `high`; and in which rows and columns any is at least `visible`. The caller clears
 * in_column. */
CLONES int64_t survey(const float *mask, int64_t height, int64_t width, float low, float high, float visible,
                      uint8_t *restrict in_row, uint8_t *restrict in_column)
{
    int64_t between = 0;
    for (int64_t y = 0; y < height; y++, mask += width) {
        int32_t count = 0, any = 0;
        for (int64_t x = 0; x < width; x++) {
            count += (mask[x] >= low) & (mask[x] <= high);
            any |= mask[x] >= visible;
        }
        between += count;
        in_row[y] = (uint8_t)any;
        if (any)
            for (int64_t x = 0; x < width; x++)
                in_column[x] |= mask[x] >= visible;
    }
    return between;
}

INLINE uint8_t mask_level(float value) { return (uint8_t)(int32_t)(least(most(value, 0.0f), 1.0f) * 255.0f); }

/* A mask from 0 to 1 in levels of 255, truncated. */
CLONES void mask_levels(const float *restrict mask, uint8_t *restrict levels, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        levels[i] = mask_level(mask[i]);
}

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
enum { LAST_BYTE = 0 };
#else
enum { LAST_BYTE = 24 };
#endif

typedef uint8_t Bytes16 __attribute__((vector_size(16)));
#if defined(__clang__)
#define APART(rgb) __builtin_shufflevector(rgb, (Bytes16){0}, 0, 1, 2, 16, 3, 4, 5, 16, 6, 7, 8, 16, 9, 10, 11, 16)
#else
#define APART(rgb) __builtin_shuffle(rgb, (Bytes16){0}, (Bytes16){0, 1, 2, 16, 3, 4, 5, 16, 6, 7, 8, 16, 9, 10, 11, 16})
#endif

LOOP void opacities_of(const float *restrict mask, uint32_t *restrict words, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        words[i] = (uint32_t)mask_level(mask[i]) << LAST_BYTE;
}

/* RGB and a mask from 0 to 1 as RGBA; the mask in levels of 255, truncated. */
CLONES void join_rgba(const uint8_t *colours, const float *mask, uint8_t *joined, int64_t count)
{
    uint32_t words[CHUNK];
    for (; count > 0; count -= CHUNK, colours += 3 * CHUNK, mask += CHUNK, joined += 4 * CHUNK) {
        const int64_t some = count < CHUNK ? count : CHUNK;
        opacities_of(mask, words, some);
        int64_t i = 0;
        for (; i + 6 <= some; i += 4) { /* reads 16 bytes of colours, of which 4 are not used */
            Bytes16 pixels, opacities;
            memcpy(&pixels, colours + 3 * i, 16);
            memcpy(&opacities, words + i, 16);
            pixels = APART(pixels) | opacities;
            memcpy(joined + 4 * i, &pixels, 16);
        }
        for (; i < some; i++) {
            memcpy(joined + 4 * i, words + i, 4);
            memcpy(joined + 4 * i, colours + 3 * i, 3);
        }
    }
}

LOOP void mix_colours(const uint8_t *restrict front, const float *restrict weights, uint8_t *restrict target, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        target[i] = (uint8_t)(int32_t)((float)front[i] * weights[i] + (float)target[i] * (1.0f - weights[i]));
}

/* Rectangles of a picture over `target`: front * mask + target * (1 - mask), truncated.
 *
 * target: rows of `target_down` bytes; front: ... x width x 3; mask: ... x width.
 */
CLONES void blend(uint8_t *target, int64_t target_down, const uint8_t *front, const float *mask, int64_t width,
                  const int32_t *parts, int64_t count)
{
    float weights[3 * CHUNK];
    for (; count > 0; count--, parts += 4)
        for (int64_t y = parts[0]; y < parts[1]; y++)
            for (int64_t left = parts[2]; left < parts[3]; left += CHUNK) {
                const int64_t some = parts[3] - left < CHUNK ? parts[3] - left : CHUNK;
                const float *share = mask + y * width + left;
                for (int64_t x = 0; x < some; x++)
                    weights[3 * x] = weights[3 * x + 1] = weights[3 * x + 2] = least(most(share[x], 0.0f), 1.0f);
                mix_colours(front + 3 * (y * width + left), weights, target + y * target_down + 3 * left, 3 * some);
            }
}
