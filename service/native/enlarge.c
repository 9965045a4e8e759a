/* Planes enlarged by linear interpolation. */

#include "common.h"

LOOP void enlarge_row(const float *restrict row, const int32_t *restrict first, const int32_t *restrict second,
                      const float *restrict share, float *restrict result, int64_t width)
{
    for (int64_t x = 0; x < width; x++)
        result[x] = (1.0f - share[x]) * row[first[x]] + share[x] * row[second[x]];
}

LOOP void mix_rows(const float *restrict above, const float *restrict below, float share, float *restrict result,
                   int64_t width)
{
    for (int64_t x = 0; x < width; x++)
        result[x] = (1.0f - share) * above[x] + share * below[x];
}

LOOP void mix_clipped(const float *restrict above, const float *restrict below, float share, float *restrict result,
                      int64_t width)
{
    for (int64_t x = 0; x < width; x++) {
        float mixed = (1.0f - share) * above[x] + share * below[x];
        mixed = mixed < 0.0f ? 0.0f : mixed; /* what is no number stays so, and is refused later */
        result[x] = mixed > 1.0f ? 1.0f : mixed;
    }
}

/* `room`: 5 x width numbers of 4 bytes. With `corners`, the corners of both sizes are the same, else the middles of pixels
 * are; and the result is clipped to 0-1. */
INLINE void enlarge_plane(const float *plane, int64_t rows, int64_t columns, float *result, int64_t height, int64_t width,
                          void *room, int corners)
{
    int32_t *first = room, *second = first + width, held[2] = {-1, -1};
    float *share = (float *)(second + width), *enlarged[2] = {share + width, share + 2 * width};
    const float across = corners ? (width > 1 ? (float)(columns - 1) / (float)(width - 1) : 0.0f) : (float)columns / (float)width;
    const float along = corners ? (height > 1 ? (float)(rows - 1) / (float)(height - 1) : 0.0f) : (float)rows / (float)height;
    for (int64_t x = 0; x < width; x++)
        between(corners ? across * (float)x : by_middles(x, across), columns, first + x, second + x, share + x);
    for (int64_t y = 0; y < height; y++, result += width) {
        const float *rows_of[2];
        int32_t wanted[2];
        float down;
        between(corners ? along * (float)y : by_middles(y, along), rows, wanted, wanted + 1, &down);
        for (int which = 0; which < 2; which++) { /* rows of even numbers are in the first buffer */
            const int32_t row = wanted[which];
            const float *const cells = plane + row * columns;
            rows_of[which] = columns == width ? cells : enlarged[row & 1];
            if (columns != width && held[row & 1] != row)
                enlarge_row(cells, first, second, share, enlarged[row & 1], width);
            held[row & 1] = row;
        }
        (corners ? mix_clipped : mix_rows)(rows_of[0], rows_of[1], down, result, width);
    }
}

void enlarge_mask(const float *mask, int64_t rows, int64_t columns, float *result, int64_t height, int64_t width, void *room)
{
    enlarge_plane(mask, rows, columns, result, height, width, room, 1);
}

void enlarge(const float *planes, int64_t count, int64_t rows, int64_t columns, float *result, int64_t height,
             int64_t width, void *room)
{
    for (; count > 0; count--, planes += rows * columns, result += height * width)
        enlarge_plane(planes, rows, columns, result, height, width, room, 0);
}
