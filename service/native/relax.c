/* The colours of foreground and background on one grid. */

#include "common.h"

enum {
    ALIGNED = 16, /* numbers of 4 bytes in a line of the cache */
    TILE_PLANES = 11, TILE_ROWS = 32, TILE_COLUMNS = 128 /* what is kept at once; loops.py has them too */
};

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
