/* The filters of PNG. */

#include "common.h"

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
