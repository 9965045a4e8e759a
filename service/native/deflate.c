/* Compression of the filtered rows of a PNG: deflate (RFC 1951) by Huffman codes, with runs of one byte or of one pixel as the
 * only matches.
 *
 * The noise of a photograph repeats itself only by chance: a search for other matches takes more than half of the time, and
 * makes files larger, because a code for distances and one for many lengths make the other codes longer.
 */

#include "common.h"

enum {
    LITERALS = 257, LENGTHS = 29, SYMBOLS = LITERALS + LENGTHS, /* a literal is a byte, or 256 for the end of a block */
    DISTANCES = 4,       /* the symbols for 1 to 4; the first and the last are used, with codes of one bit */
    LONGEST_CODE = 14,   /* bits, so that four codes and what is pending fit into 64 */
    CODE_LENGTHS = 19, LONGEST_CODE_OF_LENGTHS = 7,
    LONGEST_MATCH = 258, SHORTEST_MATCH = 3,
    ADLER = 65521, ADLER_COLUMNS = 64, ADLER_ROWS = 16 /* weighted sums of so many rows fit into 16 bits */
};

/* A Huffman code: its bits, the first one lowest, and how many they are. */
typedef struct { uint16_t bits; uint8_t length; } Code;

/* Eight bytes, the first one lowest. */
INLINE uint64_t load(const uint8_t *bytes)
{
    uint64_t eight;
    memcpy(&eight, bytes, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    eight = __builtin_bswap64(eight);
#endif
    return eight;
}

/* What is written, with fewer than 8 pending bits. Each call of `put` may write 8 bytes. */
typedef struct { uint8_t *at; uint64_t pending; int count; } Stream;

INLINE void put(Stream *stream, uint64_t bits, int count)
{
    uint64_t eight = stream->pending |= bits << stream->count;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    eight = __builtin_bswap64(eight);
#endif
    memcpy(stream->at, &eight, 8);
    stream->count += count;
    stream->at += stream->count >> 3;
    stream->pending >>= stream->count & 56;
    stream->count &= 7;
}

INLINE void put_code(Stream *stream, Code code) { put(stream, code.bits, code.length); }

/* Huffman codes -------------------------------------------------------------------------------------------------- */

/* The symbols that occur, the rarest first; the number of them. */
static int sort_symbols(const uint32_t *counts, int symbols, uint16_t *sorted)
{
    static const int gaps[] = {132, 57, 23, 10, 4, 1}; /* Shell's sort, with Ciura's gaps */
    int found = 0;
    for (int symbol = 0; symbol < symbols; symbol++)
        if (counts[symbol])
            sorted[found++] = (uint16_t)symbol;
    for (int each = 0; each < 6; each++)
        for (int i = gaps[each]; i < found; i++) {
            const uint16_t moved = sorted[i];
            int j = i;
            for (; j >= gaps[each] && counts[sorted[j - gaps[each]]] > counts[moved]; j -= gaps[each])
                sorted[j] = sorted[j - gaps[each]];
            sorted[j] = moved;
        }
    return found;
}

/* How many bits the code of each symbol has: 0 if it does not occur. At least two symbols must occur.
 *
 * Huffman's method: the two rarest nodes get a parent, until one node is left. Then codes longer than `longest` become that
 * long, and shorter ones longer, until the sum of 2^-length is 1 again.
 */
static void find_lengths(const uint32_t *counts, int symbols, int longest, uint8_t *lengths)
{
    uint16_t sorted[SYMBOLS], parents[2 * SYMBOLS];
    uint32_t weights[2 * SYMBOLS];
    uint8_t depths[2 * SYMBOLS];
    const int leaves = sort_symbols(counts, symbols, sorted), nodes = 2 * leaves - 1;
    int leaf = 0, inner = leaves; /* the rarest of each kind that has no parent */
    for (int i = 0; i < leaves; i++)
        weights[i] = counts[sorted[i]];
    for (int parent = leaves; parent < nodes; parent++) {
        weights[parent] = 0;
        for (int child = 0; child < 2; child++) {
            const int rarest = leaf < leaves && (inner == parent || weights[leaf] <= weights[inner]) ? leaf++ : inner++;
            weights[parent] += weights[rarest];
            parents[rarest] = (uint16_t)parent;
        }
    }
    uint32_t of_length[LONGEST_CODE + 1] = {0}, used = 0; /* in units of 2^-longest */
    depths[nodes - 1] = 0;
    for (int node = nodes - 2; node >= 0; node--) {
        depths[node] = (uint8_t)(depths[parents[node]] + 1);
        if (node < leaves)
            of_length[smaller(depths[node], longest)]++;
    }
    for (int length = 1; length <= longest; length++)
        used += of_length[length] << (longest - length);
    for (; used > 1u << longest; used--) { /* one of the longest codes becomes the sibling of the next shorter one */
        int length = longest - 1;
        while (of_length[length] == 0)
            length--;
        of_length[longest]--;
        of_length[length]--;
        of_length[length + 1] += 2;
    }
    memset(lengths, 0, (size_t)symbols);
    for (int length = longest, i = 0; length > 0; length--)
        for (uint32_t each = 0; each < of_length[length]; each++)
            lengths[sorted[i++]] = (uint8_t)length;
}

/* The codes of those lengths (RFC 1951, 3.2.2). */
static void assign_codes(const uint8_t *lengths, int symbols, Code *codes)
{
    uint32_t of_length[LONGEST_CODE + 1] = {0}, next[LONGEST_CODE + 1] = {0};
    for (int symbol = 0; symbol < symbols; symbol++)
        of_length[lengths[symbol]]++;
    of_length[0] = 0;
    for (int length = 1; length <= LONGEST_CODE; length++)
        next[length] = (next[length - 1] + of_length[length - 1]) << 1;
    for (int symbol = 0; symbol < symbols; symbol++) {
        const int length = lengths[symbol];
        uint32_t reversed = 0;
        if (length > 0)
            for (uint32_t bit = 0, code = next[length]++; bit < (uint32_t)length; bit++)
                reversed = reversed << 1 | (code >> bit & 1);
        codes[symbol] = (Code){(uint16_t)reversed, (uint8_t)length};
    }
}

/* Runs ----------------------------------------------------------------------------------------------------------- */

/* Bytes that are equal to those that stand `distance` before them. */
typedef struct { uint32_t start, length; } Run;

/* The runs of at least `shortest` bytes, 4 or 8. With 8, only those that fill a window of 8 bytes: every eighth byte since the
 * last run begins one. */
INLINE int64_t find_runs(const uint8_t *bytes, int64_t length, int64_t distance, int64_t shortest, Run *runs)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    int64_t found = 0;
    for (int64_t i = distance; i + 8 <= length;) {
        uint64_t differences = load(bytes + i) ^ load(bytes + i - distance);
        int64_t start = i;
        if (differences) {
            if (shortest == 8) {
                i += 8;
                continue;
            }
            /* The highest bit of each byte that is 0, and of which the three after it are 0, too. */
            uint64_t equal = ~(((differences & low) + low) | differences | low);
            equal &= equal >> 8;
            equal &= equal >> 16;
            if (!equal) {
                i += 5;
                continue;
            }
            start += __builtin_ctzll(equal) >> 3;
            i = start + 4;
        } else {
            i += 8;
        }
        while (i + 8 <= length && !(differences = load(bytes + i) ^ load(bytes + i - distance)))
            i += 8;
        if (i + 8 <= length)
            i += __builtin_ctzll(differences) >> 3;
        else
            while (i < length && bytes[i] == bytes[i - distance])
                i++;
        runs[found++] = (Run){(uint32_t)start, (uint32_t)(i - start)};
    }
    return found;
}

/* A run is written as matches; no rest of it is too short for one. */
INLINE int64_t next_match(int64_t left)
{
    if (left <= LONGEST_MATCH)
        return left;
    return left - LONGEST_MATCH < SHORTEST_MATCH ? left - SHORTEST_MATCH : LONGEST_MATCH;
}

/* Of each symbol for a length: the shortest match, and how many bits say how much longer the match is. */
static const uint16_t shortest_of[LENGTHS] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                              31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t extra_bits[LENGTHS] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};

INLINE int length_symbol(int64_t match)
{
    if (match == LONGEST_MATCH)
        return LENGTHS - 1;
    if (match < 11)
        return (int)match - SHORTEST_MATCH;
    const int extra = 29 - __builtin_clz((uint32_t)(match - SHORTEST_MATCH)); /* four symbols for each power of two */
    return 4 * extra + (int)((match - SHORTEST_MATCH) >> extra);
}

/* Blocks --------------------------------------------------------------------------------------------------------- */

/* How often each byte occurs. Four tables, so that equal bytes do not wait for each other. */
INLINE void count_literals(const uint8_t *bytes, int64_t length, uint32_t counts[4][256])
{
    int64_t i = 0;
    for (; i + 8 <= length; i += 8) {
        const uint64_t eight = load(bytes + i);
        for (int j = 0; j < 8; j++)
            counts[j & 3][eight >> 8 * j & 255]++;
    }
    for (; i < length; i++)
        counts[0][bytes[i]]++;
}

INLINE void put_literals(Stream *stream, const uint8_t *bytes, int64_t length, const Code *codes)
{
    int64_t i = 0;
    for (; i + 4 <= length; i += 4) {
        const Code a = codes[bytes[i]], b = codes[bytes[i + 1]], c = codes[bytes[i + 2]], d = codes[bytes[i + 3]];
        const uint64_t first = a.bits | (uint64_t)b.bits << a.length, second = c.bits | (uint64_t)d.bits << c.length;
        put(stream, first | second << (a.length + b.length), a.length + b.length + c.length + d.length);
    }
    for (; i < length; i++)
        put_code(stream, codes[bytes[i]]);
}

/* `distance`: its code, 0 or 1. */
INLINE void put_run(Stream *stream, int64_t left, uint64_t distance, const Code *codes)
{
    while (left > 0) {
        const int64_t match = next_match(left);
        const int symbol = length_symbol(match);
        const Code code = codes[LITERALS + symbol];
        const uint64_t more = (uint64_t)(match - shortest_of[symbol]) | distance << extra_bits[symbol];
        put(stream, code.bits | more << code.length, code.length + extra_bits[symbol] + 1);
        left -= match;
    }
}

/* The head of a block (RFC 1951, 3.2.7): the lengths of the codes of both kinds, which are coded themselves. */
static void put_head(Stream *stream, const uint8_t *lengths, int count, int literals)
{
    static const uint8_t order[CODE_LENGTHS] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t symbols[SYMBOLS + DISTANCES], repeats[SYMBOLS + DISTANCES], own[CODE_LENGTHS];
    uint32_t counts[CODE_LENGTHS] = {0};
    Code codes[CODE_LENGTHS];
    int used = 0, sent = CODE_LENGTHS;
    for (int i = 0, equal; i < count; i += equal) {
        const uint8_t length = lengths[i];
        uint8_t symbol = length, repeat = 0;
        for (equal = 1; i + equal < count && lengths[i + equal] == length && equal < 138; equal++)
            ;
        if (length == 0 && equal >= 11) {
            symbol = 18, repeat = (uint8_t)(equal - 11);
        } else if (length == 0 && equal >= 3) {
            symbol = 17, repeat = (uint8_t)(equal - 3);
        } else if (i > 0 && lengths[i - 1] == length && equal >= 3) {
            equal = equal < 6 ? equal : 6;
            symbol = 16, repeat = (uint8_t)(equal - 3);
        } else {
            equal = 1;
        }
        symbols[used] = symbol, repeats[used++] = repeat;
        counts[symbol]++;
    }
    find_lengths(counts, CODE_LENGTHS, LONGEST_CODE_OF_LENGTHS, own);
    assign_codes(own, CODE_LENGTHS, codes);
    while (own[order[sent - 1]] == 0)
        sent--;
    put(stream, 2 << 1, 3); /* not the last block; dynamic codes */
    put(stream, (uint64_t)(literals - LITERALS), 5);
    put(stream, DISTANCES - 1, 5);
    put(stream, (uint64_t)(sent - 4), 4);
    for (int i = 0; i < sent; i++)
        put(stream, own[order[i]], 3);
    for (int i = 0; i < used; i++) {
        put_code(stream, codes[symbols[i]]);
        if (symbols[i] >= 16)
            put(stream, repeats[i], symbols[i] == 16 ? 2 : symbols[i] == 17 ? 3 : 7);
    }
}

/* The checksum of RFC 1950, continued: the sum of the bytes, and that of all such sums on the way.
 *
 * Of ADLER_ROWS rows of ADLER_COLUMNS bytes, `high` gets each byte as often as there are bytes from it on. That is
 * ADLER_COLUMNS times the rows from its own on, which `weighted` adds up, without the bytes before it in its row.
 */
INLINE uint32_t adler32(uint32_t sum, const uint8_t *bytes, int64_t length)
{
    uint32_t low = sum & 0xffff, high = sum >> 16;
    for (; length >= ADLER_ROWS * ADLER_COLUMNS; length -= ADLER_ROWS * ADLER_COLUMNS) {
        uint16_t sums[ADLER_COLUMNS] = {0}, weighted[ADLER_COLUMNS] = {0};
        uint32_t plain = 0, all = 0, before = 0;
        for (int row = 0; row < ADLER_ROWS; row++, bytes += ADLER_COLUMNS)
            for (int i = 0; i < ADLER_COLUMNS; i++) {
                sums[i] = (uint16_t)(sums[i] + bytes[i]);
                weighted[i] = (uint16_t)(weighted[i] + sums[i]);
            }
        for (uint32_t i = 0; i < ADLER_COLUMNS; i++) {
            plain += sums[i];
            all += weighted[i];
            before += sums[i] * i;
        }
        high = (high + low * (ADLER_ROWS * ADLER_COLUMNS) + all * ADLER_COLUMNS - before) % ADLER;
        low = (low + plain) % ADLER;
    }
    for (; length > 0; length--) {
        low = (low + *bytes++) % ADLER;
        high = (high + low) % ADLER;
    }
    return high << 16 | low;
}

/* Find the runs, and count all symbols. Returns how many runs there are. */
INLINE int64_t count_symbols(const uint8_t *bytes, int64_t length, int64_t distance, int64_t shortest, Run *runs,
                             uint32_t counts[SYMBOLS])
{
    uint32_t tables[4][256] = {{0}};
    const int64_t found = find_runs(bytes, length, distance, shortest, runs);
    int64_t done = 0;
    memset(counts, 0, sizeof(uint32_t) * SYMBOLS);
    for (int64_t i = 0; i < found; i++) {
        count_literals(bytes + done, runs[i].start - done, tables);
        for (int64_t left = runs[i].length; left > 0; left -= next_match(left))
            counts[LITERALS + length_symbol(next_match(left))]++;
        done = runs[i].start + runs[i].length;
    }
    count_literals(bytes + done, length - done, tables);
    for (int i = 0; i < 256; i++)
        counts[i] = (tables[0][i] + tables[1][i]) + (tables[2][i] + tables[3][i]);
    counts[256] = 1;
    return found;
}

/* Whether one byte is more than three fifths of all literals. It should cost less than a bit then, and no code does, so that
 * even short runs save something. */
INLINE int one_prevails(const uint32_t *counts)
{
    uint64_t all = 0, largest = 0;
    for (int i = 0; i < 256; i++) {
        all += counts[i];
        largest = counts[i] > largest ? counts[i] : largest;
    }
    return 5 * largest > 3 * all;
}

/* One block of a stream; how many bytes of it were written.
 *
 * bytes: 1 to 2^24. channels: bytes of a pixel. In RGBA every fourth byte is 0 where the mask is constant. So the code of 0 is
 * short, and only long runs are worth while. A pixel that repeats itself is one, too.
 * result: 2 * length + 512. runs: 2 x (length / 5 + 1) numbers of 4 bytes.
 * state: the bits that are pending before and after, how many they are, and the checksum of all bytes.
 */
CLONES int64_t deflate_block(const uint8_t *bytes, int64_t length, int64_t channels, uint8_t *result, void *runs, uint32_t *state)
{
    uint32_t counts[SYMBOLS];
    uint8_t lengths[SYMBOLS + DISTANCES];
    Code codes[SYMBOLS];
    Stream stream = {result, state[0], (int)state[1]};
    const Run *run = runs;
    int64_t done = 0, found = 0;
    int by_pixels = channels == 4;
    if (by_pixels) {
        found = count_symbols(bytes, length, 4, 8, runs, counts);
        by_pixels = !one_prevails(counts);
    }
    if (!by_pixels)
        found = count_symbols(bytes, length, 1, 4, runs, counts);
    find_lengths(counts, SYMBOLS, LONGEST_CODE, lengths);
    assign_codes(lengths, SYMBOLS, codes);
    int literals = SYMBOLS;
    while (lengths[literals - 1] == 0)
        literals--;
    memcpy(lengths + literals, (uint8_t[DISTANCES]){1, 0, 0, 1}, DISTANCES);
    put_head(&stream, lengths, literals + DISTANCES, literals);
    for (int64_t i = 0; i < found; i++) {
        put_literals(&stream, bytes + done, run[i].start - done, codes);
        put_run(&stream, run[i].length, (uint64_t)by_pixels, codes);
        done = run[i].start + run[i].length;
    }
    put_literals(&stream, bytes + done, length - done, codes);
    put_code(&stream, codes[256]);
    state[0] = (uint32_t)stream.pending;
    state[1] = (uint32_t)stream.count;
    state[2] = adler32(state[2], bytes, length);
    return stream.at - result;
}
