/* Which bytes of a chunked body are whole chunks?
 *
 * Apart from _native.c, so that a test can compile it with the Py_ssize_t of a 32-bit system.
 */

#define MOST_DIGITS 15 /* of a chunk's size, as http.py has it */

static int
hex_digit(char one)
{
    return one >= '0' && one <= '9'   ? one - '0'
           : one >= 'a' && one <= 'f' ? one - 'a' + 10
           : one >= 'A' && one <= 'F' ? one - 'A' + 10
                                      : -1;
}

/* Where data, in which a chunk begins at the index at, has something else than whole chunks. */
static Py_ssize_t
pass_chunks(const char *data, Py_ssize_t length, Py_ssize_t at)
{
    while (at >= 0) {
        long long size = 0; /* 60 bits at most, which a Py_ssize_t of 32 bits does not have */
        Py_ssize_t begin = at;
        for (int digit; begin < length && begin - at < MOST_DIGITS && (digit = hex_digit(data[begin])) >= 0;
             begin++) {
            size = size * 16 + digit;
        }
        if (size == 0 || length - begin < size + 4 || data[begin] != '\r' || data[begin + 1] != '\n') {
            break;
        }
        /* The whole chunk is there: its size is less than length. */
        Py_ssize_t end = begin + 2 + (Py_ssize_t)size;
        if (data[end] != '\r' || data[end + 1] != '\n') {
            break;
        }
        at = end + 2;
    }
    return at;
}
