/* Foreground colours of pixels, from the colours on the finest grid, and the means of pixels that the grid begins with. */

#include "common.h"

LOOP void expand(const float *restrict cells, const int32_t *restrict first, const int32_t *restrict second,
                 const float *restrict share, float *restrict result, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        result[i] = cells[first[i]] + share[i] * (cells[second[i]] - cells[first[i]]);
}

/* Some cells of a row of three planes, enlarged, as RGB. */
INLINE void expand_colours(const float *planes, int64_t plane, int64_t columns, int64_t at, const int32_t *first,
                           const int32_t *second, const float *share, float *result, int64_t wide)
{
    float cells[3 * (CHUNK + 2)];
    for (int64_t x = 0; x < columns; x++)
        for (int i = 0; i < 3; i++)
            cells[3 * x + i] = planes[i * plane + at + x];
    expand(cells, first, second, share, result, 3 * wide);
}

LOOP void gains_of(const float *restrict mask, float *restrict gain, float *restrict keep, int64_t wide, float smoothness)
{
    for (int64_t x = 0; x < wide; x++) {
        const float a = mask[x], b = 1.0f - a, g = a / ((a * a + b * b) + smoothness), k = 1.0f - g * a;
        gain[3 * x] = gain[3 * x + 1] = gain[3 * x + 2] = g;
        keep[3 * x] = keep[3 * x + 1] = keep[3 * x + 2] = k;
    }
}

LOOP void correct(const uint8_t *restrict seen, const float *restrict f_above, const float *restrict f_below,
                  const float *restrict b_above, const float *restrict b_below, const float *restrict gain,
                  const float *restrict keep, float down, uint8_t *restrict result, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const float f = f_above[i] + down * (f_below[i] - f_above[i]);
        const float b = b_above[i] + down * (b_below[i] - b_above[i]);
        result[i] = level(((f - b) * keep[i] + b) + ((float)seen[i] - b) * gain[i]);
    }
}

LOOP void continued(const float *restrict f_above, const float *restrict f_below, float down, uint8_t *restrict result,
                    int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        result[i] = level(f_above[i] + down * (f_below[i] - f_above[i]));
}

/* What unmix and continue_colours share. The rows of F, and with `alpha` of B, are expanded as RGB once for as many rows of
 * pixels as a cell has. */
INLINE void write_colours(const uint8_t *image, const float *alpha, uint8_t *result, int64_t width, const float *grid,
                          int64_t rows, int64_t columns, int64_t reduction, const int32_t *parts, int64_t count,
                          float smoothness)
{
    const int64_t plane = rows * columns;
    const float scale = 1.0f / (float)reduction;
    int32_t first[3 * CHUNK], second[3 * CHUNK];
    float share[3 * CHUNK], gain[3 * CHUNK], keep[3 * CHUNK], front[2][3 * CHUNK], behind[2][3 * CHUNK];
    for (; count > 0; count--, parts += 4)
        for (int64_t left = parts[2]; left < parts[3]; left += CHUNK) {
            const int64_t wide = parts[3] - left < CHUNK ? parts[3] - left : CHUNK;
            int32_t start, stop, held[2] = {-1, -1};
            between(by_middles(left, scale), columns, &start, &stop, share);
            for (int64_t x = 0; x < wide; x++) {
                int32_t here, next;
                between(by_middles(left + x, scale), columns, &here, &next, share + 3 * x);
                share[3 * x + 1] = share[3 * x + 2] = share[3 * x];
                for (int i = 0; i < 3; i++) {
                    first[3 * x + i] = 3 * (here - start) + i;
                    second[3 * x + i] = 3 * (next - start) + i;
                }
                stop = next + 1;
            }
            for (int64_t y = parts[0]; y < parts[1]; y++) {
                int32_t wanted[2];
                float down;
                between(by_middles(y, scale), rows, wanted, wanted + 1, &down);
                for (int which = 0; which < 2; which++) { /* rows of even numbers are in the first buffers */
                    const int32_t row = wanted[which];
                    const int64_t at = row * columns + start;
                    if (held[row & 1] == row)
                        continue;
                    held[row & 1] = row;
                    expand_colours(grid, plane, stop - start, at, first, second, share, front[row & 1], wide);
                    if (alpha)
                        expand_colours(grid + 3 * plane, plane, stop - start, at, first, second, share, behind[row & 1], wide);
                }
                const int above = wanted[0] & 1, below = wanted[1] & 1;
                const int64_t at = y * width + left;
                if (alpha) {
                    gains_of(alpha + at, gain, keep, wide, smoothness);
                    correct(image + 3 * at, front[above], front[below], behind[above], behind[below], gain, keep, down,
                            result + 3 * at, 3 * wide);
                } else {
                    continued(front[above], front[below], down, result + 3 * at, 3 * wide);
                }
            }
        }
}

/* Rectangles of the foreground's colours, from F and B on the finest grid.
 *
 * image, result: ... x width x 3; alpha: ... x width; grid: 2 x 3 x rows x columns, `reduction` pixels a cell.
 * parts: count x 4: top, bottom, left, right in pixels.
 */
void unmix(const uint8_t *image, const float *alpha, uint8_t *result, int64_t width, const float *grid, int64_t rows,
           int64_t columns, int64_t reduction, const int32_t *parts, int64_t count, float smoothness)
{
    write_colours(image, alpha, result, width, grid, rows, columns, reduction, parts, count, smoothness);
}

void continue_colours(const float *grid, int64_t rows, int64_t columns, int64_t reduction, uint8_t *result, int64_t width,
                      const int32_t *parts, int64_t count)
{
    write_colours(NULL, NULL, result, width, grid, rows, columns, reduction, parts, count, 0.0f);
}

LOOP void add_bytes(const uint8_t *restrict row, uint16_t *restrict sums, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        sums[i] = (uint16_t)(sums[i] + row[i]);
}

LOOP void add_floats(const float *restrict row, float *restrict sums, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        sums[i] += row[i];
}

LOOP void add_sums(const uint16_t *restrict row, uint16_t *restrict sums, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        sums[i] = (uint16_t)(sums[i] + row[i]);
}

/* The means of squares, of which every `reduction`th sum is one. */
LOOP void write_means(const uint16_t *restrict squares, const float *restrict mask_squares, int64_t reduction, float scale,
                      float *restrict red, float *restrict green, float *restrict blue, float *restrict mask, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const uint16_t *square = squares + 3 * reduction * i;
        red[i] = (float)level((float)square[0] * scale);
        green[i] = (float)level((float)square[1] * scale);
        blue[i] = (float)level((float)square[2] * scale);
        mask[i] = mask_squares[reduction * i] * scale;
    }
}

/* A picture reduced to the means of squares of pixels; those at the right and the lower edge may be cut off.
 *
 * image: height x width x 3; alpha: height x width; small_image: 3 x rows x columns, whole levels; small_alpha:
 * rows x columns, with rows = ceil(height / reduction) and columns = ceil(width / reduction).
 * reduction: at most 16, so that 16 bits hold the sum of a square. room: 5 x (width + reduction) numbers of 4 bytes: the
 * sums of columns, and those of the squares that begin at each column.
 */
void reduce(const uint8_t *image, const float *alpha, int64_t height, int64_t width, int64_t reduction,
            float *small_image, float *small_alpha, void *room)
{
    const int64_t rows = (height + reduction - 1) / reduction, columns = (width + reduction - 1) / reduction;
    const int64_t padded = width + reduction; /* what lies behind a row is 0 */
    float *mask_sums = room, *mask_squares = mask_sums + padded;
    uint16_t *sums = (uint16_t *)(mask_squares + padded), *squares = sums + 3 * padded;
    for (int64_t row = 0; row < rows; row++) {
        const int64_t top = row * reduction, bottom = smaller(top + reduction, height);
        memset(room, 0, sizeof(float) * (size_t)(5 * padded));
        for (int64_t y = top; y < bottom; y++) {
            add_bytes(image + 3 * y * width, sums, 3 * width);
            add_floats(alpha + y * width, mask_sums, width);
        }
        for (int64_t k = 0; k < reduction; k++) {
            add_sums(sums + 3 * k, squares, 3 * width);
            add_floats(mask_sums + k, mask_squares, width);
        }
        const int64_t whole = width / reduction, last = width - whole * reduction; /* squares; what is left behind them */
        float *red = small_image + row * columns, *green = red + rows * columns, *blue = green + rows * columns;
        float *mask = small_alpha + row * columns;
        write_means(squares, mask_squares, reduction, 1.0f / (float)((bottom - top) * reduction), red, green, blue, mask, whole);
        if (last > 0)
            write_means(squares + 3 * whole * reduction, mask_squares + whole * reduction, reduction,
                        1.0f / (float)((bottom - top) * last), red + whole, green + whole, blue + whole, mask + whole, 1);
    }
}
