/* The loops over pixels that most of the time around the network goes into, as plain functions for ctypes.
 *
 * service/native/loops.py is the only caller: it checks every array, and documents every function. arrays.py has the same
 * functions in NumPy, for where this library is missing, and tests compare the results of both. So:
 *
 * - Products and sums are in the order of the NumPy code, except where that calls OpenCV (reduce, enlarge, unmix). A
 *   compiler must not fuse them (-ffp-contract=off).
 * - Nothing allocates: a loop's working memory is on the stack, or handed over.
 * - No function keeps a state. ctypes calls them without the interpreter's lock, in several threads at once.
 *
 * The loops are written so that compilers vectorise them: without branches, over short buffers that stay in the innermost
 * cache. On x86-64 with glibc, GCC 12 and later make three forms of each: for any processor, for AVX2 and for AVX-512. The
 * dynamic linker takes the best that the processor has. All give the same bits.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__) && __GNUC__ >= 12
#define HAS_CLONES 1
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define HAS_CLONES 0
#define CLONES
#endif
#define LOOP CLONES static __attribute__((noinline)) /* a loop of its own, so that `restrict` holds for its arguments */
#define INLINE static inline __attribute__((always_inline))

enum {
    ALIGNED = 16,     /* numbers of 4 bytes in a line of the cache */
    TILE_PLANES = 11, TILE_ROWS = 32, TILE_COLUMNS = 128, /* what relax keeps at once; loops.py has them too */
    CHUNK = 256       /* pixels of a row at once, for which everything is on the stack */
};

#ifndef SOURCE_HASH
#define SOURCE_HASH ""
#endif

/* Of this file, as setup.py computes it; library.py compares it with the file that is there. */
const char *source_hash(void) { return SOURCE_HASH; }

/* The vector instructions that the loops use on this processor. */
const char *instructions(void)
{
#if HAS_CLONES
    __builtin_cpu_init();
    return __builtin_cpu_supports("x86-64-v4") ? "AVX-512" : __builtin_cpu_supports("x86-64-v3") ? "AVX2" : "baseline";
#else
    return "baseline";
#endif
}

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE float least(float a, float b) { return a < b ? a : b; }
INLINE float most(float a, float b) { return a > b ? a : b; }

/* The nearest level from 0 to 255, a tie to the even one. Adding 1.5 * 2^23 leaves the integer in the lowest bits. */
INLINE uint8_t level(float value)
{
    union { float number; uint32_t bits; } rounded = {least(most(value, 0.0f), 255.0f) + 12582912.0f};
    return (uint8_t)rounded.bits;
}

/* PNG filters ---------------------------------------------------------------------------------------------------- */

INLINE uint8_t paeth(uint8_t here, uint8_t left, uint8_t up, uint8_t corner)
{
    int16_t from_left = (int16_t)(up - corner), from_up = (int16_t)(left - corner);
    int16_t from_corner = (int16_t)(from_left + from_up);
    from_left = (int16_t)(from_left < 0 ? -from_left : from_left);
    from_up = (int16_t)(from_up < 0 ? -from_up : from_up);
    from_corner = (int16_t)(from_corner < 0 ? -from_corner : from_corner);
    uint8_t nearest = from_up <= from_corner ? up : corner;
    nearest = ((from_left <= from_up) & (from_left <= from_corner)) ? left : nearest;
    return (uint8_t)(here - nearest);
}

INLINE void paeth_row(const uint8_t *restrict row, const uint8_t *restrict above, uint8_t *restrict filtered,
                      int64_t length, int64_t channels)
{
    for (int64_t i = 0; i < smaller(channels, length); i++)
        filtered[i] = (uint8_t)(row[i] - above[i]);
    for (int64_t i = channels; i < length; i++)
        filtered[i] = paeth(row[i], row[i - channels], above[i], above[i - channels]);
}

/* Rows of `length` bytes by Paeth's filter; each result has the filter's type before it. `above` is the row before. */
CLONES void filter_by_paeth(const uint8_t *rows, const uint8_t *above, uint8_t *filtered, int64_t count, int64_t length,
                            int64_t channels)
{
    for (int64_t y = 0; y < count; y++, rows += length, filtered += length + 1) {
        filtered[0] = 4;
        paeth_row(rows, above, filtered + 1, length, channels);
        above = rows;
    }
}

/* About how many sixteenths of a bit `length` filtered bytes cost; most of a mask's are 0 or 255. */
INLINE int64_t cost_of(const uint8_t *bytes, int64_t length, const uint8_t *costs)
{
    int64_t cost = 0, i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t eight;
        memcpy(&eight, bytes + i, 8);
        if (eight == 0 || eight == UINT64_MAX)
            cost += 8 * (int64_t)costs[bytes[i]];
        else
            for (int j = 0; j < 8; j++)
                cost += costs[bytes[i + j]];
    }
    for (; i < length; i++)
        cost += costs[bytes[i]];
    return cost;
}

/* Grey rows by Paeth's filter, up or none, whichever costs least by the table `costs`; a tie goes to the first. `room`:
 * `length` bytes. */
CLONES void filter_grey(const uint8_t *rows, const uint8_t *above, uint8_t *filtered, int64_t count, int64_t length,
                        const uint8_t *costs, uint8_t *restrict room)
{
    for (int64_t y = 0; y < count; y++, rows += length, filtered += length + 1) {
        filtered[0] = 4;
        paeth_row(rows, above, filtered + 1, length, 1);
        int64_t least_cost = cost_of(filtered + 1, length, costs);
        if (least_cost > 0) {
            for (int64_t i = 0; i < length; i++)
                room[i] = (uint8_t)(rows[i] - above[i]);
            const int64_t cost = cost_of(room, length, costs);
            if (cost < least_cost) {
                filtered[0] = 2;
                memcpy(filtered + 1, room, (size_t)length);
                least_cost = cost;
            }
            if (cost_of(rows, length, costs) < least_cost) {
                filtered[0] = 0;
                memcpy(filtered + 1, rows, (size_t)length);
            }
        }
        above = rows;
    }
}

/* Masks ---------------------------------------------------------------------------------------------------------- */

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

/* Enlarging ------------------------------------------------------------------------------------------------------ */

/* A pixel lies between two cells, and as far behind the first as `share` says. */
INLINE void between(float position, int64_t cells, int32_t *first, int32_t *second, float *share)
{
    position = least(most(position, 0.0f), (float)(cells - 1));
    *first = (int32_t)position;
    *second = (int32_t)smaller(*first + 1, cells - 1);
    *share = position - (float)*first;
}

/* The same middles: a cell covers 1 / `scale` pixels. */
INLINE float by_middles(int64_t pixel, float scale) { return ((float)pixel + 0.5f) * scale - 0.5f; }

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
        int32_t wanted[2];
        float down;
        between(corners ? along * (float)y : by_middles(y, along), rows, wanted, wanted + 1, &down);
        for (int which = 0; which < 2; which++) { /* rows of even numbers are in the first buffer */
            const int32_t row = wanted[which];
            if (held[row & 1] != row)
                enlarge_row(plane + row * columns, first, second, share, enlarged[row & 1], width);
            held[row & 1] = row;
        }
        (corners ? mix_clipped : mix_rows)(enlarged[wanted[0] & 1], enlarged[wanted[1] & 1], down, result, width);
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

/* Foreground colours --------------------------------------------------------------------------------------------- */

/* Of each cell of a row: the weights of its neighbours, alpha, and the gain. */
LOOP void weigh_row(const float *restrict here, const float *restrict above, const float *restrict below,
                    float *restrict to_left, float *restrict to_right, float *restrict to_above, float *restrict to_below,
                    float *restrict share, float *restrict gain, int64_t columns, float smoothness, float edge_smoothness)
{
    to_left[0] = to_right[columns - 1] = smoothness;
    for (int64_t x = 1; x < columns; x++)
        to_left[x] = smoothness + fabsf(here[x] - here[x - 1]) * edge_smoothness;
    memcpy(to_right, to_left + 1, sizeof(float) * (size_t)(columns - 1));
    for (int64_t x = 0; x < columns; x++) {
        to_above[x] = smoothness + fabsf(here[x] - above[x]) * edge_smoothness;
        to_below[x] = smoothness + fabsf(below[x] - here[x]) * edge_smoothness;
    }
    for (int64_t x = 0; x < columns; x++) {
        const float total = ((to_left[x] + to_right[x]) + to_above[x]) + to_below[x];
        const float a = here[x], b = 1.0f - a;
        share[x] = a;
        gain[x] = 1.0f / ((total + a * a) + b * b);
        to_left[x] /= total;
        to_right[x] /= total;
        to_above[x] /= total;
        to_below[x] /= total;
    }
}

/* One sweep over one colour: f and k are F and B now; to_f and to_k the solutions before them, which give way to the
 * next ones. */
LOOP void sweep(const float *restrict f, const float *restrict k, const float *restrict seen, const float *restrict to_left,
                const float *restrict to_right, const float *restrict to_above, const float *restrict to_below,
                const float *restrict share, const float *restrict gain, float *restrict to_f, float *restrict to_k,
                int64_t down, int64_t count, int32_t accelerate, float momentum)
{
    for (int64_t x = 0; x < count; x++) {
        const float a = share[x], b = 1.0f - a;
        float m = ((f[x - 1] * to_left[x] + f[x + 1] * to_right[x]) + f[x - down] * to_above[x]) + f[x + down] * to_below[x];
        float n = ((k[x - 1] * to_left[x] + k[x + 1] * to_right[x]) + k[x - down] * to_above[x]) + k[x + down] * to_below[x];
        const float rest = seen[x] - (m * a + n * b);
        m += rest * (gain[x] * a);
        n += rest * (gain[x] * b);
        if (accelerate) {
            m = (m - to_f[x]) * momentum + to_f[x];
            n = (n - to_k[x]) * momentum + to_k[x];
        }
        to_f[x] = least(most(m, 0.0f), 255.0f);
        to_k[x] = least(most(n, 0.0f), 255.0f);
    }
}

/* The layout of a tile's planes. A row begins at a multiple of ALIGNED numbers, because loads that cross a line of the cache
 * cost twice. A border of one cell surrounds the tile: to the left of a row, it is the last cell of the row before. */
typedef struct {
    int64_t rows, columns; /* of cells */
    int64_t down;          /* from a cell to the one below it */
    int64_t origin;        /* from the start of a plane to its first cell */
    int64_t size;          /* of a plane */
} Layout;

INLINE Layout layout_of(int64_t rows, int64_t columns)
{
    const int64_t down = (columns + 2 + ALIGNED - 1) / ALIGNED * ALIGNED;
    return (Layout){rows, columns, down, ALIGNED + down, ALIGNED + (rows + 2) * down};
}

/* What lies between two rows is computed, too, and must be no slow number. */
INLINE void clear_gaps(float *plane, const Layout *tile)
{
    float *gap = plane + tile->origin - tile->down + tile->columns;
    for (int64_t y = -1; y < tile->rows; y++, gap += tile->down)
        memset(gap, 0, sizeof(float) * (size_t)(tile->down - tile->columns));
}

/* The border repeats the cells beside it. */
INLINE void close_border(float *plane, const Layout *tile)
{
    float *row = plane + tile->origin;
    const size_t length = sizeof(float) * (size_t)tile->columns;
    memcpy(row - tile->down, row, length);
    for (int64_t y = 0; y < tile->rows; y++, row += tile->down) {
        row[-1] = row[0];
        row[tile->columns] = row[tile->columns - 1];
    }
    memcpy(row, row - tile->down, length);
}

INLINE void copy_rows(float *to, int64_t to_down, const float *from, int64_t from_down, int64_t rows, int64_t columns)
{
    for (int64_t y = 0; y < rows; y++, to += to_down, from += from_down)
        memcpy(to, from, sizeof(float) * (size_t)columns);
}

/* relax for one tile: top, bottom, left, right of the cells that are written. */
INLINE void relax_tile(const float *start, const float *colours, const float *alpha, float *result, int64_t height,
                       int64_t width, const int64_t cells[4], int64_t sweeps, float smoothness, float edge_smoothness,
                       float momentum, float *room)
{
    const int64_t plane = height * width;
    const int64_t top = larger(cells[0] - sweeps, 0), left = larger(cells[2] - sweeps, 0), corner = top * width + left;
    const Layout tile = layout_of(smaller(cells[1] + sweeps, height) - top, smaller(cells[3] + sweeps, width) - left);
    const int64_t down = tile.down, origin = tile.origin, rows = tile.rows, columns = tile.columns;
    float *planes[TILE_PLANES];
    for (int i = 0; i < TILE_PLANES; i++) {
        planes[i] = room + i * tile.size;
        clear_gaps(planes[i], &tile);
    }
    float **weights = planes, *share = planes[4], *gain = planes[5], *seen = planes[6];
    for (int64_t y = 0; y < rows; y++) {
        const float *here = alpha + corner + y * width;
        const int64_t at = origin + y * down;
        weigh_row(here, y > 0 ? here - width : here, y + 1 < rows ? here + width : here, weights[0] + at, weights[1] + at,
                  weights[2] + at, weights[3] + at, share + at, gain + at, columns, smoothness, edge_smoothness);
    }
    for (int colour = 0; colour < 3; colour++) {
        float *f = planes[7], *k = planes[8], *to_f = planes[9], *to_k = planes[10];
        copy_rows(seen + origin, down, colours + colour * plane + corner, width, rows, columns);
        copy_rows(f + origin, down, start + colour * plane + corner, width, rows, columns);
        copy_rows(k + origin, down, start + (3 + colour) * plane + corner, width, rows, columns);
        for (int64_t done = 0; done < sweeps; done++) {
            float *last_f = f, *last_k = k;
            close_border(f, &tile);
            close_border(k, &tile);
            sweep(f + origin, k + origin, seen + origin, weights[0] + origin, weights[1] + origin, weights[2] + origin,
                  weights[3] + origin, share + origin, gain + origin, to_f + origin, to_k + origin, down,
                  (rows - 1) * down + columns, done > 0, momentum);
            f = to_f, k = to_k, to_f = last_f, to_k = last_k;
        }
        const int64_t to = cells[0] * width + cells[2], wide = cells[3] - cells[2], high = cells[1] - cells[0];
        const int64_t from = origin + (cells[0] - top) * down + (cells[2] - left);
        copy_rows(result + colour * plane + to, width, f + from, down, high, wide);
        copy_rows(result + (3 + colour) * plane + to, width, k + from, down, high, wide);
    }
}

/* Move F and B towards the minimum in each tile of a grid; loops.py has the formula.
 *
 * start, result: 2 x 3 x height x width; colours: 3 x height x width; alpha: height x width.
 * tiles: count x 4: top, bottom, left, right of the cells that are written. A tile is solved in pieces that stay in a
 * cache, each with a margin of as many cells as there are sweeps, so that what is outside has no influence.
 * room: TILE_PLANES x (TILE_ROWS + 2 sweeps + 3) x (TILE_COLUMNS + 2 sweeps + 2 + ALIGNED), and ALIGNED.
 */
void relax(const float *start, const float *colours, const float *alpha, float *result, int64_t height, int64_t width,
           const int32_t *tiles, int64_t count, int64_t sweeps, float smoothness, float edge_smoothness, float momentum,
           float *room)
{
    room += (ALIGNED - (uintptr_t)room / sizeof(float) % ALIGNED) % ALIGNED;
    for (; count > 0; count--, tiles += 4)
        for (int64_t top = tiles[0]; top < tiles[1]; top += TILE_ROWS)
            for (int64_t left = tiles[2]; left < tiles[3]; left += TILE_COLUMNS) {
                const int64_t piece[4] = {top, smaller(top + TILE_ROWS, tiles[1]), left, smaller(left + TILE_COLUMNS, tiles[3])};
                relax_tile(start, colours, alpha, result, height, width, piece, sweeps, smoothness, edge_smoothness,
                           momentum, room);
            }
}

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
        for (int64_t column = 0; column < columns; column++) {
            const int64_t left = column * reduction;
            const float scale = 1.0f / (float)((bottom - top) * (smaller(left + reduction, width) - left));
            for (int i = 0; i < 3; i++)
                small_image[(i * rows + row) * columns + column] = (float)level((float)squares[3 * left + i] * scale);
            small_alpha[row * columns + column] = mask_squares[left] * scale;
        }
    }
}
