/* When did the server really send each token?
 *
 * An OpenAI-compatible server without a model, for Linux. Token i of a request is due at
 *     start + ttft + the sum of i gaps,
 * where start is when the request's last byte was read, or when it got its slot. The log says when each
 * event was handed to the kernel, so that what a load client reports can be held against what happened.
 *
 *     cc -std=c11 -O2 -Wall -Wextra -o truth_server truth_server.c -lm
 *     cc -std=c11 -O2 -Wall -Wextra -DWITH_TLS -o truth_server truth_server.c -lm -lssl -lcrypto
 *
 * One thread and one epoll instance. Streams wait in a heap by the time of their next event, and one
 * timer is set to the earliest. Nothing is formatted for the log until the server ends: by SIGTERM,
 * SIGINT, GET /quit or, with --until-eof, the end of its standard input.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

#define SECOND INT64_C(1000000000)
#define LARGEST_HEAD (64u << 10)
#define LARGEST_BODY (64u << 20)
#define MOST_TOKENS 1000000
#define DEEPEST_JSON 64
/* So many sockets are read, then so many events written, by turns. Few are written, because a request
 * that waits for its read is one whose beginning the log has too late. */
#define READS 64
#define WRITES 8

static struct {
    int port;
    int64_t ttft, gap; /* ns */
    bool exponential, role_chunk, until_eof;
    long tokens_per_chunk, reasoning, slots;
    const char *log, *cert, *key;
    uint64_t seed;
} options = {.ttft = 50 * SECOND / 1000, .gap = 10 * SECOND / 1000, .tokens_per_chunk = 1};

static void fail(const char *what)
{
    fprintf(stderr, "truth_server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

/* --- Growing text -------------------------------------------------------------------------------- */

struct text {
    char *data; /* one byte more than the length is always there, and 0 */
    size_t length, capacity;
};

static void reserve(struct text *text, size_t more)
{
    if (text->length + more < text->capacity)
        return;
    text->capacity = 2 * (text->length + more) + 256;
    text->data = realloc(text->data, text->capacity);
    if (!text->data)
        fail("memory");
}

static void put(struct text *text, const char *bytes, size_t count)
{
    reserve(text, count);
    memcpy(text->data + text->length, bytes, count);
    text->length += count;
    text->data[text->length] = 0;
}

static void puts_to(struct text *text, const char *string)
{
    put(text, string, strlen(string));
}

__attribute__((format(printf, 2, 3))) static void putf(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int needed = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    reserve(text, (size_t)needed);
    va_start(arguments, format);
    vsnprintf(text->data + text->length, (size_t)needed + 1, format, arguments);
    va_end(arguments);
    text->length += (size_t)needed;
}

static void discard(struct text *text, size_t count)
{
    if (!count)
        return;
    text->length -= count;
    memmove(text->data, text->data + count, text->length + 1);
}

/* --- JSON: as much of it as a request needs ------------------------------------------------------- */

struct slice {
    const char *at; /* NULL: not there */
    size_t length;
};

static bool is(struct slice slice, const char *word)
{
    return slice.at && slice.length == strlen(word) && !memcmp(slice.at, word, slice.length);
}

static const char *after_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

static const char *after_string(const char *at, const char *end)
{
    if (at >= end || *at++ != '"')
        return NULL;
    for (; at < end && *at != '"'; at++) {
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at != '\\')
            continue;
        if (++at >= end || !*at || !strchr("\"\\/bfnrtu", *at))
            return NULL;
        if (*at != 'u')
            continue;
        if (end - at < 5 || strspn(at + 1, "0123456789abcdefABCDEF") < 4)
            return NULL;
        at += 4;
    }
    return at < end ? at + 1 : NULL;
}

static const char *after_number(const char *at, const char *end)
{
    size_t length = strspn(at, "+-.0123456789eE");
    char *stop;
    if (!length || *at == '+' || *at == '.' || at + length > end)
        return NULL;
    strtod(at, &stop);
    return stop == at + length ? stop : NULL;
}

/* Behind the value that begins at *at*; NULL if there is none, or it is broken. */
static const char *after_value(const char *at, const char *end, int depth)
{
    static const char *const words[] = {"true", "false", "null"};
    if (at >= end || depth > DEEPEST_JSON)
        return NULL;
    if (*at == '"')
        return after_string(at, end);
    if (*at == '{' || *at == '[') {
        const char close = *at == '{' ? '}' : ']';
        at = after_space(at + 1, end);
        if (at < end && *at == close)
            return at + 1;
        for (;;) {
            if (close == '}') {
                if (!(at = after_string(at, end)))
                    return NULL;
                at = after_space(at, end);
                if (at >= end || *at++ != ':')
                    return NULL;
                at = after_space(at, end);
            }
            if (!(at = after_value(at, end, depth + 1)))
                return NULL;
            at = after_space(at, end);
            if (at < end && *at == close)
                return at + 1;
            if (at >= end || *at++ != ',')
                return NULL;
            at = after_space(at, end);
        }
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if ((size_t)(end - at) >= strlen(words[i]) && !memcmp(at, words[i], strlen(words[i])))
            return at + strlen(words[i]);
    return after_number(at, end);
}

/* The next member of an object, or element of an array, whose text was checked; *at* is moved on. */
static bool next(const char **at, const char *end, bool object, struct slice *name, struct slice *value)
{
    const char *from = after_space(*at, end);
    if (from >= end || *from == '}' || *from == ']')
        return false;
    from = after_space(from + 1, end); /* behind the opening bracket, or the comma */
    if (from >= end || *from == '}' || *from == ']')
        return false;
    if (object) {
        const char *stop = after_string(from, end);
        *name = (struct slice){from + 1, (size_t)(stop - from) - 2};
        from = after_space(after_space(stop, end) + 1, end);
    }
    *at = after_value(from, end, 0);
    *value = (struct slice){from, (size_t)(*at - from)};
    return true;
}

static struct slice member(struct slice object, const char *wanted)
{
    struct slice name, value, found = {NULL, 0};
    const char *at = object.at;
    if (at && *at == '{')
        while (next(&at, object.at + object.length, true, &name, &value))
            if (is(name, wanted))
                found = value;
    return found;
}

/* Tokens of a prompt: its words; of a list of token ids: its length. */
static long count_tokens(struct slice text)
{
    long count = 0;
    if (!text.at)
        return 0;
    if (*text.at == '"') {
        bool space = true;
        for (size_t i = 1; i + 1 < text.length; i++) {
            bool next_space = text.at[i] == ' ';
            count += space && !next_space;
            space = next_space;
        }
        return count;
    }
    struct slice element;
    const char *at = text.at, *end = text.at + text.length;
    while (*text.at == '[' && next(&at, end, false, NULL, &element)) {
        struct slice content = *element.at == '{' ? member(element, "content") : element;
        if (!content.at)
            content = member(element, "text");
        count += content.at && strchr("[\"", *content.at) ? count_tokens(content) : 1;
    }
    return count;
}

/* --- Connections and their requests --------------------------------------------------------------- */

/* What the log says of a request. */
struct record {
    struct record *next;
    long number, tokens;
    char *user; /* as JSON, quotes and all; NULL if it named none */
    bool chat, stream, complete;
    int64_t received, started, latest; /* ns; latest: the largest lateness of an event */
    int64_t *events;
    size_t count, capacity;
    long blocked; /* events that found the socket's buffer full: when they left is not known */
};

enum state { IDLE, QUEUED, DECODING, CLOSING };

struct connection {
    int fd;
#ifdef WITH_TLS
    SSL *tls;
    bool shaken;
#endif
    enum state state;
    bool dead, close_after, waits_to_write;
    struct text in, out, head;
    struct connection *next_in_queue, *next_dead;
    size_t place; /* in the heap */
    /* Of the request that is answered: */
    struct record *record;
    bool usage;
    long wanted, made, step, prompt_tokens;
    int64_t due; /* of the next event, which brings *step* tokens */
    uint64_t random;
};

static int poller, listener, timer;
static bool accepting = true, quitting;
static long numbers, decoding;
static struct record *records, **last_record = &records;
static struct connection *queue, **queue_end = &queue, *dead;
static struct {
    struct connection **at;
    size_t count, capacity;
} heap;
#ifdef WITH_TLS
static SSL_CTX *tls_context;
#endif

static bool earlier(const struct connection *a, const struct connection *b)
{
    return a->due != b->due ? a->due < b->due : a->record->number < b->record->number;
}

static void settle(size_t place, struct connection *connection)
{
    heap.at[place] = connection;
    connection->place = place;
}

static void heap_restore(size_t place)
{
    struct connection *moved = heap.at[place];
    while (place && earlier(moved, heap.at[(place - 1) / 2])) {
        settle(place, heap.at[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * place + 1;
        if (child + 1 < heap.count && earlier(heap.at[child + 1], heap.at[child]))
            child++;
        if (child >= heap.count || !earlier(heap.at[child], moved))
            break;
        settle(place, heap.at[child]);
        place = child;
    }
    settle(place, moved);
}

static void heap_add(struct connection *connection)
{
    if (heap.count == heap.capacity) {
        heap.capacity = 2 * heap.capacity + 64;
        heap.at = realloc(heap.at, heap.capacity * sizeof *heap.at);
        if (!heap.at)
            fail("memory");
    }
    settle(heap.count++, connection);
    heap_restore(heap.count - 1);
}

static void heap_remove(struct connection *connection)
{
    size_t place = connection->place;
    struct connection *last = heap.at[--heap.count];
    if (last != connection) {
        settle(place, last);
        heap_restore(place);
    }
}

static void serve_queue(void);

static void end_request(struct connection *connection)
{
    if (connection->state == DECODING) {
        heap_remove(connection);
        decoding--;
    } else if (connection->state == QUEUED) {
        struct connection **at = &queue;
        while (*at != connection)
            at = &(*at)->next_in_queue;
        *at = connection->next_in_queue;
        if (queue_end == &connection->next_in_queue)
            queue_end = at;
    }
    connection->state = IDLE;
    connection->record = NULL;
    serve_queue();
}

/* Its memory stays until the events at hand are dealt with: they may still name it. */
static void drop(struct connection *connection)
{
    if (connection->dead)
        return;
    connection->dead = true;
    connection->next_dead = dead;
    dead = connection;
    end_request(connection);
}

static void watch(struct connection *connection, bool writing)
{
    if (connection->waits_to_write == writing)
        return;
    struct epoll_event wanted = {EPOLLIN | (writing ? EPOLLOUT : 0), {.ptr = connection}};
    epoll_ctl(poller, EPOLL_CTL_MOD, connection->fd, &wanted);
    connection->waits_to_write = writing;
}

/* Bytes that were written; 0 if the socket takes none now, -1 if it is broken. */
static ssize_t write_some(struct connection *connection, const char *data, size_t count)
{
#ifdef WITH_TLS
    if (connection->tls) {
        ERR_clear_error();
        int written = SSL_write(connection->tls, data, count > INT32_MAX ? INT32_MAX : (int)count);
        if (written > 0)
            return written;
        int error = SSL_get_error(connection->tls, written);
        return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
#endif
    ssize_t written = send(connection->fd, data, count, MSG_NOSIGNAL);
    return written >= 0 ? written : errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static void flush(struct connection *connection)
{
    size_t done = 0;
    while (done < connection->out.length) {
        ssize_t written =
            write_some(connection, connection->out.data + done, connection->out.length - done);
        if (written < 0) {
            drop(connection);
            return;
        }
        if (!written)
            break;
        done += (size_t)written;
    }
    discard(&connection->out, done);
    watch(connection, connection->out.length > 0);
    if (!connection->out.length && connection->state == CLOSING) {
#ifdef WITH_TLS
        if (connection->tls)
            SSL_shutdown(connection->tls);
#endif
        shutdown(connection->fd, SHUT_WR);
    }
}

/* Whether all of it was taken by the kernel at once. */
static bool write_out(struct connection *connection, const char *data, size_t count)
{
    if (connection->dead)
        return false;
    if (!connection->out.length) {
        ssize_t written = write_some(connection, data, count);
        if (written == (ssize_t)count)
            return true;
        if (written < 0) {
            drop(connection);
            return false;
        }
        data += written;
        count -= (size_t)written;
    }
    put(&connection->out, data, count);
    flush(connection);
    return false;
}

/* --- Responses ------------------------------------------------------------------------------------ */

/* An event is made here: room for the chunk's size, then the event, then the chunk's end. */
#define ROOM 16
static struct text event;

static void begin_event(void)
{
    static const char room[ROOM];
    event.length = 0;
    put(&event, room, ROOM);
    puts_to(&event, "data: ");
}

static bool write_event(struct connection *connection, const char *trailer)
{
    char size[ROOM];
    puts_to(&event, "\n\n");
    int digits = snprintf(size, sizeof size, "%zx\r\n", event.length - ROOM);
    memcpy(event.data + ROOM - digits, size, (size_t)digits);
    puts_to(&event, trailer);
    return write_out(connection, event.data + ROOM - digits, event.length - ROOM + (size_t)digits);
}

static void put_words(struct text *text, long from, long to)
{
    static const char *const words[] = {" the", " of", " and", " to", " in", " is", " that", " for"};
    for (; from < to; from++)
        puts_to(text, words[from % 8]);
}

/* "delta" of a chunk, "message" of a whole answer: tokens *from* to *to*. */
static void put_chat(struct text *text, const char *name, const char *role, long from, long to)
{
    long thought = options.reasoning < from ? from : options.reasoning < to ? options.reasoning : to;
    const char *comma = *role ? "," : "";
    putf(text, "\"%s\":{%s", name, role);
    if (thought > from) {
        putf(text, "%s\"reasoning_content\":\"", comma);
        put_words(text, from, thought);
        puts_to(text, "\"");
        comma = ",";
    }
    if (to > thought || to == from) {
        putf(text, "%s\"content\":\"", comma);
        put_words(text, thought, to);
        puts_to(text, "\"");
    }
    puts_to(text, "}");
}

static void put_choice(struct text *text, const struct connection *connection, long from, long to)
{
    const struct record *record = connection->record;
    const char *role = to == 0 || !record->stream ? "\"role\":\"assistant\"" : "";
    puts_to(text, ",\"choices\":[{\"index\":0,");
    if (record->chat)
        put_chat(text, record->stream ? "delta" : "message", role, from, to);
    else {
        puts_to(text, "\"text\":\"");
        put_words(text, from, to);
        puts_to(text, "\"");
    }
    puts_to(text, to == connection->wanted ? ",\"logprobs\":null,\"finish_reason\":\"length\"}]"
                                           : ",\"logprobs\":null,\"finish_reason\":null}]");
}

static void put_usage(struct text *text, const struct connection *connection)
{
    long prompt = connection->prompt_tokens, output = connection->wanted;
    putf(text, ",\"usage\":{\"prompt_tokens\":%ld,\"completion_tokens\":%ld,\"total_tokens\":%ld", prompt,
         output, prompt + output);
    if (options.reasoning && connection->record->chat)
        putf(text, ",\"completion_tokens_details\":{\"reasoning_tokens\":%ld}",
             options.reasoning < output ? options.reasoning : output);
    puts_to(text, "}");
}

static bool respond(struct connection *connection, const char *status, const char *json)
{
    static struct text response;
    response.length = 0;
    putf(&response,
         "HTTP/1.1 %s\r\nServer: truth\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n",
         status, strlen(json), connection->close_after ? "Connection: close\r\n" : "");
    puts_to(&response, json);
    return write_out(connection, response.data, response.length);
}

static void refuse(struct connection *connection, const char *status, const char *why)
{
    char json[512];
    snprintf(json, sizeof json,
             "{\"error\":{\"message\":\"%s\",\"type\":\"invalid_request_error\",\"code\":%d}}", why,
             atoi(status));
    respond(connection, status, json);
}

/* --- The schedule --------------------------------------------------------------------------------- */

static int64_t draw_gap(struct connection *connection)
{
    if (!options.exponential)
        return options.gap;
    /* SplitMix64 (Steele, Lea and Flood 2014); the upper 53 bits as a number in (0, 1]. */
    uint64_t bits = connection->random += UINT64_C(0x9e3779b97f4a7c15);
    bits = (bits ^ (bits >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ (bits >> 27)) * UINT64_C(0x94d049bb133111eb);
    bits ^= bits >> 31;
    return (int64_t)(-log((double)((bits >> 11) + 1) * 0x1p-53) * (double)options.gap);
}

/* Sets what the next event brings, and when: with its last token. */
static void plan_event(struct connection *connection)
{
    long left = connection->wanted - connection->made;
    connection->step = options.tokens_per_chunk;
    if (!connection->record->stream || connection->step > left)
        connection->step = left;
    for (long token = connection->made ? 0 : 1; token < connection->step; token++)
        connection->due += draw_gap(connection);
}

static void start(struct connection *connection, int64_t time)
{
    decoding++;
    connection->state = DECODING;
    connection->record->started = time;
    connection->due = time + options.ttft;
    plan_event(connection);
    heap_add(connection);
}

static void serve_queue(void)
{
    while (queue && decoding < options.slots) {
        struct connection *connection = queue;
        queue = connection->next_in_queue;
        if (!queue)
            queue_end = &queue;
        start(connection, now_ns());
    }
}

static void note_event(struct record *record, int64_t time, int64_t due)
{
    if (record->count == record->capacity) {
        record->capacity = 2 * record->capacity + 16;
        record->events = realloc(record->events, record->capacity * sizeof *record->events);
        if (!record->events)
            fail("memory");
    }
    record->events[record->count++] = time;
    if (time - due > record->latest)
        record->latest = time - due;
}

static void process(struct connection *connection, int64_t received);

/* Writes the event that is due; returns when. */
static int64_t fire(struct connection *connection)
{
    struct record *record = connection->record;
    int64_t time, due = connection->due;
    bool last = connection->made + connection->step == connection->wanted, taken;

    if (record->stream) {
        begin_event();
        put(&event, connection->head.data, connection->head.length);
        put_choice(&event, connection, connection->made, connection->made + connection->step);
        puts_to(&event, "}");
        connection->made += connection->step;
        if (!last) {
            plan_event(connection);
            heap_restore(connection->place);
        }
        time = now_ns();
        taken = write_event(connection, "\r\n");
    } else {
        struct text answer = {0};
        put(&answer, connection->head.data, connection->head.length);
        put_choice(&answer, connection, 0, connection->wanted);
        put_usage(&answer, connection);
        puts_to(&answer, "}");
        connection->made = connection->wanted;
        time = now_ns();
        taken = respond(connection, "200 OK", answer.data);
        free(answer.data);
    }
    record->blocked += !taken;
    record->tokens = connection->made;
    note_event(record, time, due);
    if (!last || connection->dead)
        return time;

    if (record->stream) {
        if (connection->usage) {
            begin_event();
            put(&event, connection->head.data, connection->head.length);
            puts_to(&event, ",\"choices\":[]");
            put_usage(&event, connection);
            puts_to(&event, "}");
            write_event(connection, "\r\n");
        }
        begin_event();
        puts_to(&event, "[DONE]");
        write_event(connection, "\r\n0\r\n\r\n");
    }
    if (connection->dead)
        return time;
    record->complete = true;
    end_request(connection);
    if (connection->close_after) {
        connection->state = CLOSING;
        flush(connection);
    } else if (connection->in.length)
        process(connection, now_ns());
    return time;
}

/* --- Requests ------------------------------------------------------------------------------------- */

/* A whole number from 1 to MOST_TOKENS; 0 if it is none. */
static long read_count(struct slice number)
{
    char *stop;
    long value = strtol(number.at, &stop, 10);
    return stop == number.at + number.length && value >= 1 && value <= MOST_TOKENS ? value : 0;
}

static void generate(struct connection *connection, struct slice body, bool chat, int64_t received)
{
    const char *end = body.at + body.length, *at = after_space(body.at, end);
    const char *stop = after_value(at, end, 0);
    if (!stop || *at != '{' || after_space(stop, end) != end) {
        refuse(connection, "400 Bad Request", "the body is no JSON object");
        return;
    }
    body = (struct slice){at, (size_t)(stop - at)};
    struct slice prompt = member(body, chat ? "messages" : "prompt");
    if (!prompt.at || (*prompt.at != '[' && (chat || *prompt.at != '"'))) {
        refuse(connection, "400 Bad Request", chat ? "messages is no list" : "prompt is no text");
        return;
    }
    struct slice limit = member(body, "max_completion_tokens");
    if (!limit.at || is(limit, "null"))
        limit = member(body, "max_tokens");
    long wanted = !limit.at || is(limit, "null") ? 16 : read_count(limit);
    if (!wanted) {
        refuse(connection, "400 Bad Request", "max_tokens is no whole number from 1 to 1000000");
        return;
    }
    struct slice model = member(body, "model"), user = member(body, "user");

    struct record *record = calloc(1, sizeof *record);
    if (!record)
        fail("memory");
    *last_record = record;
    last_record = &record->next;
    record->number = numbers++;
    record->received = received;
    record->chat = chat;
    record->stream = is(member(body, "stream"), "true");
    if (user.at && *user.at == '"' && !(record->user = strndup(user.at, user.length)))
        fail("memory");

    connection->record = record;
    connection->usage = is(member(member(body, "stream_options"), "include_usage"), "true");
    connection->wanted = wanted;
    connection->made = 0;
    connection->prompt_tokens = count_tokens(prompt);
    connection->random = options.seed * UINT64_C(0xd1342543de82ef95) + (uint64_t)record->number;
    connection->head.length = 0;
    putf(&connection->head, "{\"id\":\"%s-%ld\",\"object\":\"%s\",\"created\":%ld,\"model\":",
         chat ? "chatcmpl" : "cmpl", record->number,
         !chat            ? "text_completion"
         : record->stream ? "chat.completion.chunk"
                          : "chat.completion",
         (long)time(NULL));
    if (model.at && *model.at == '"')
        put(&connection->head, model.at, model.length);
    else
        puts_to(&connection->head, "\"truth\"");

    if (record->stream) {
        static struct text head;
        head.length = 0;
        putf(&head,
             "HTTP/1.1 200 OK\r\nServer: truth\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
             "Cache-Control: no-cache\r\n%sTransfer-Encoding: chunked\r\n\r\n",
             connection->close_after ? "Connection: close\r\n" : "");
        write_out(connection, head.data, head.length);
        if (chat && options.role_chunk && !connection->dead) {
            begin_event();
            put(&event, connection->head.data, connection->head.length);
            put_choice(&event, connection, 0, 0);
            puts_to(&event, "}");
            write_event(connection, "\r\n");
        }
    }
    if (connection->dead)
        return;
    if (options.slots && decoding >= options.slots) {
        connection->state = QUEUED;
        connection->next_in_queue = NULL;
        *queue_end = connection;
        queue_end = &connection->next_in_queue;
    } else
        start(connection, received);
}

/* The value of a header, without space around it; NULL if there is none. */
static struct slice header(const char *head, const char *end, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = head; line < end;) {
        const char *stop = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!stop)
            stop = end;
        if ((size_t)(stop - line) > length && line[length] == ':' && !strncasecmp(line, name, length)) {
            const char *from = after_space(line + length + 1, stop);
            while (stop > from && (stop[-1] == ' ' || stop[-1] == '\t'))
                stop--;
            return (struct slice){from, (size_t)(stop - from)};
        }
        line = stop + 2;
    }
    return (struct slice){NULL, 0};
}

static void answer(struct connection *connection, const char *line, struct slice body, int64_t received)
{
    char method[16], target[256];
    if (sscanf(line, "%15[A-Z] %255[^ \r\n]", method, target) != 2) {
        refuse(connection, "400 Bad Request", "the request line is too long");
        return;
    }
    target[strcspn(target, "?")] = 0;
    bool chat = !strcmp(target, "/v1/chat/completions");
    if (chat || !strcmp(target, "/v1/completions")) {
        if (strcmp(method, "POST"))
            refuse(connection, "405 Method Not Allowed", "this wants a POST");
        else
            generate(connection, body, chat, received);
    } else if (strcmp(method, "GET"))
        refuse(connection, "404 Not Found", "there is no such path");
    else if (!strcmp(target, "/v1/models"))
        respond(connection, "200 OK",
                "{\"object\":\"list\",\"data\":[{\"id\":\"truth\",\"object\":\"model\",\"created\":0,"
                "\"owned_by\":\"truth\",\"max_model_len\":1000000}]}");
    else if (!strcmp(target, "/health"))
        respond(connection, "200 OK", "{}");
    else if (!strcmp(target, "/quit")) {
        respond(connection, "200 OK", "{}");
        quitting = true;
    } else
        refuse(connection, "404 Not Found", "there is no such path");
}

static void break_off(struct connection *connection, const char *why)
{
    connection->close_after = true;
    refuse(connection, "400 Bad Request", why);
    connection->state = CLOSING;
    flush(connection);
}

/* Whether the first line has the form of HTTP/1.1's. */
static bool request_line(const char *line, const char *end)
{
    const char *stop = memmem(line, (size_t)(end - line), "\r\n", 2);
    const char *space = memchr(line, ' ', (size_t)(end - line));
    return stop && space && space > line && space < stop && stop - line > 9 &&
           !memcmp(stop - 9, " HTTP/1.1", 9) && stop - 9 > space + 1;
}

/* Answers what is in the input, one request at a time; *received*: when its last byte was read. */
static void process(struct connection *connection, int64_t received)
{
    while (connection->state == IDLE && !connection->dead && connection->in.length) {
        struct text *in = &connection->in;
        const char *end = memmem(in->data, in->length, "\r\n\r\n", 4);
        if (!end) {
            if (in->length > LARGEST_HEAD)
                break_off(connection, "the head is too long");
            return;
        }
        if (!request_line(in->data, end + 2)) {
            break_off(connection, "this is no HTTP/1.1");
            return;
        }
        struct slice length = header(in->data, end, "content-length");
        size_t body = 0;
        if (length.at) {
            char *stop;
            body = strtoul(length.at, &stop, 10);
            if (*length.at < '0' || *length.at > '9' || stop != length.at + length.length ||
                body > LARGEST_BODY) {
                break_off(connection, "the content-length is wrong");
                return;
            }
        }
        if (header(in->data, end, "transfer-encoding").at) {
            break_off(connection, "a body wants a content-length");
            return;
        }
        size_t head = (size_t)(end + 4 - in->data);
        if (in->length < head + body)
            return;
        struct slice close = header(in->data, end, "connection");
        connection->close_after = close.length == 5 && !strncasecmp(close.at, "close", 5);
        answer(connection, in->data, (struct slice){in->data + head, body}, received);
        discard(in, head + body);
        if (connection->state == IDLE && connection->close_after) {
            connection->state = CLOSING;
            flush(connection);
        }
    }
}

/* Bytes that were read; 0 if there is none now, -1 at the end. */
static ssize_t read_some(struct connection *connection, char *data, size_t room)
{
#ifdef WITH_TLS
    if (connection->tls) {
        ERR_clear_error();
        int got = connection->shaken ? SSL_read(connection->tls, data, (int)room)
                                     : SSL_accept(connection->tls);
        if (got > 0 && !connection->shaken) {
            connection->shaken = true;
            return read_some(connection, data, room);
        }
        if (got > 0)
            return got;
        int error = SSL_get_error(connection->tls, got);
        return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
#endif
    ssize_t got = recv(connection->fd, data, room, 0);
    return got > 0 ? got : got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static void read_in(struct connection *connection)
{
    for (;;) {
        struct text *in = &connection->in;
        reserve(in, 16 << 10);
        size_t room = in->capacity - in->length - 1;
        ssize_t got = read_some(connection, in->data + in->length, room);
        int64_t time = now_ns();
        if (got < 0 || in->length > LARGEST_BODY + LARGEST_HEAD) {
            drop(connection);
            return;
        }
        if (!got)
            return;
        in->length += (size_t)got;
        in->data[in->length] = 0;
        if (connection->state == CLOSING)
            in->length = 0;
        process(connection, time);
#ifdef WITH_TLS
        /* What OpenSSL has decrypted already makes no event. */
        if (connection->tls && !connection->dead)
            continue;
#endif
        return;
    }
}

/* --- The loop ------------------------------------------------------------------------------------- */

static void watch_for_input(int fd, void *what)
{
    struct epoll_event input = {EPOLLIN, {.ptr = what}};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &input))
        fail("epoll");
}

static void accept_all(void)
{
    for (int count = 0; count < READS; count++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE) {
                /* It would be ready for ever; a connection that ends makes room. */
                epoll_ctl(poller, EPOLL_CTL_DEL, listener, NULL);
                accepting = false;
            }
            return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection)
            fail("memory");
        connection->fd = fd;
#ifdef WITH_TLS
        if (tls_context) {
            connection->tls = SSL_new(tls_context);
            if (!connection->tls || !SSL_set_fd(connection->tls, fd))
                fail("TLS");
        }
#endif
        watch_for_input(fd, connection);
    }
}

static void bury(void)
{
    while (dead) {
        struct connection *connection = dead;
        dead = connection->next_dead;
#ifdef WITH_TLS
        SSL_free(connection->tls);
#endif
        close(connection->fd);
        free(connection->in.data);
        free(connection->out.data);
        free(connection->head.data);
        free(connection);
        if (!accepting) {
            watch_for_input(listener, &listener);
            accepting = true;
        }
    }
}

/* Sets the timer to the next event; returns how long to wait for anything, in ms. */
static int arm(bool expired)
{
    static int64_t armed;
    int64_t due = heap.count ? heap.at[0]->due : 0;
    if (heap.count && due <= now_ns())
        return 0;
    if (due != armed || expired) {
        struct itimerspec when = {.it_value = {due / SECOND, due % SECOND}};
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
        armed = due;
    }
    return -1;
}

static void loop(int signals)
{
    bool expired = false;
    while (!quitting) {
        struct epoll_event events[READS];
        int count = epoll_wait(poller, events, READS, arm(expired));
        if (count < 0 && errno != EINTR)
            fail("epoll");
        expired = false;
        for (int i = 0; i < count; i++) {
            void *what = events[i].data.ptr;
            if (what == &timer)
                expired = true;
            else if (what == &listener)
                accept_all();
            else if (what == &quitting) {
                struct signalfd_siginfo signal;
                char byte;
                if (read(signals, &signal, sizeof signal) > 0 || read(STDIN_FILENO, &byte, 1) == 0)
                    quitting = true;
            } else {
                struct connection *connection = what;
                if (!connection->dead && events[i].events & EPOLLOUT)
                    flush(connection);
                if (!connection->dead && events[i].events & ~(uint32_t)EPOLLOUT)
                    read_in(connection);
            }
        }
        int64_t time = now_ns();
        for (int turn = 0; turn < WRITES && heap.count && heap.at[0]->due <= time; turn++)
            time = fire(heap.at[0]);
        bury();
    }
}

static void put_time(FILE *file, const char *name, int64_t time)
{
    fprintf(file, "%s%" PRId64 ".%09" PRId64, name, time / SECOND, time % SECOND);
}

static void write_log(FILE *file)
{
    for (const struct record *record = records; record; record = record->next) {
        fprintf(file, "{\"number\":%ld,\"user\":%s,\"chat\":%s,\"stream\":%s,\"tokens\":%ld,"
                      "\"complete\":%s,\"blocked\":%ld",
                record->number, record->user ? record->user : "null", record->chat ? "true" : "false",
                record->stream ? "true" : "false", record->tokens, record->complete ? "true" : "false",
                record->blocked);
        put_time(file, ",\"late\":", record->latest);
        put_time(file, ",\"received\":", record->received);
        if (record->started)
            put_time(file, ",\"started\":", record->started);
        fputs(record->started ? ",\"events\":[" : ",\"started\":null,\"events\":[", file);
        for (size_t i = 0; i < record->count; i++)
            put_time(file, i ? "," : "", record->events[i]);
        fputs("]}\n", file);
    }
    if (fclose(file))
        fail(options.log);
}

/* --- The start ------------------------------------------------------------------------------------ */

static const char usage[] =
    "truth_server [options]\n"
    "  --port N             listen on 127.0.0.1:N; 0 (the default) takes a free port; it is printed\n"
    "  --ttft MS            from the request's last byte to its first token (50)\n"
    "  --gap MS             between two tokens (10)\n"
    "  --gaps KIND          constant, or exponential with that mean\n"
    "  --log FILE           write a JSON line a request there, at the end\n"
    "  --tokens-per-chunk K so many tokens come in one event (1)\n"
    "  --reasoning N        the first N tokens of a chat are reasoning_content (0)\n"
    "  --role-chunk         a chat's stream begins with a chunk that has a role and no text\n"
    "  --slots N            so many requests are answered at once, the others wait; 0 is no limit\n"
    "  --seed N             of the exponential gaps (0)\n"
    "  --cert FILE --key FILE   TLS; only if built with -DWITH_TLS\n"
    "  --until-eof          end with the standard input, a pipe\n";

static double number_of(const char *name, const char *text, double most)
{
    char *stop;
    double value = strtod(text, &stop);
    if (stop == text || *stop || !(value >= 0 && value <= most)) {
        fprintf(stderr, "truth_server: --%s %s: a number from 0 to %g is wanted\n", name, text, most);
        exit(2);
    }
    return value;
}

static void read_options(int argc, char **argv)
{
    enum { PORT = 1, TTFT, GAP, GAPS, LOG, CHUNK, REASONING, ROLE, SLOTS, SEED, CERT, KEY, UNTIL_EOF, HELP };
    static const struct option known[] = {
        {"port", required_argument, NULL, PORT},
        {"ttft", required_argument, NULL, TTFT},
        {"gap", required_argument, NULL, GAP},
        {"gaps", required_argument, NULL, GAPS},
        {"log", required_argument, NULL, LOG},
        {"tokens-per-chunk", required_argument, NULL, CHUNK},
        {"reasoning", required_argument, NULL, REASONING},
        {"role-chunk", no_argument, NULL, ROLE},
        {"slots", required_argument, NULL, SLOTS},
        {"seed", required_argument, NULL, SEED},
        {"cert", required_argument, NULL, CERT},
        {"key", required_argument, NULL, KEY},
        {"until-eof", no_argument, NULL, UNTIL_EOF},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    const double milli = (double)SECOND / 1000, day = 86400e3;
    bool wrong = false;
    for (int found, index; (found = getopt_long(argc, argv, "", known, &index)) != -1;) {
        const char *name = found == '?' ? "" : known[index].name;
        switch (found) {
        case PORT: options.port = (int)number_of(name, optarg, 65535); break;
        case TTFT: options.ttft = llround(number_of(name, optarg, day) * milli); break;
        case GAP: options.gap = llround(number_of(name, optarg, day) * milli); break;
        case GAPS:
            options.exponential = !strcmp(optarg, "exponential");
            wrong |= !options.exponential && strcmp(optarg, "constant");
            break;
        case LOG: options.log = optarg; break;
        case CHUNK: options.tokens_per_chunk = (long)number_of(name, optarg, MOST_TOKENS); break;
        case REASONING: options.reasoning = (long)number_of(name, optarg, MOST_TOKENS); break;
        case ROLE: options.role_chunk = true; break;
        case SLOTS: options.slots = (long)number_of(name, optarg, 1e9); break;
        case SEED: options.seed = (uint64_t)number_of(name, optarg, 0x1p53); break;
        case CERT: options.cert = optarg; break;
        case KEY: options.key = optarg; break;
        case UNTIL_EOF: options.until_eof = true; break;
        case HELP: fputs(usage, stdout); exit(0);
        default: wrong = true;
        }
    }
    if (wrong || optind < argc || !options.tokens_per_chunk || !options.cert != !options.key) {
        fputs(usage, stderr);
        exit(2);
    }
}

static void start_tls(void)
{
    if (!options.cert)
        return;
#ifdef WITH_TLS
    tls_context = SSL_CTX_new(TLS_server_method());
    if (!tls_context || SSL_CTX_use_certificate_chain_file(tls_context, options.cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_context, options.key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* Tickets for later sessions would be bytes that no event accounts for. */
    SSL_CTX_set_num_tickets(tls_context, 0);
#else
    fputs("truth_server: --cert: built without -DWITH_TLS\n", stderr);
    exit(2);
#endif
}

static int start_listening(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)options.port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t size = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&address, &size))
        fail("listen");
    return ntohs(address.sin_port);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    start_tls();
    FILE *log = options.log ? fopen(options.log, "w") : NULL;
    if (options.log && !log)
        fail(options.log);

    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */

    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int signals = signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC);
    if (poller < 0 || timer < 0 || signals < 0)
        fail("start");
    int port = start_listening();
    watch_for_input(listener, &listener);
    watch_for_input(timer, &timer);
    watch_for_input(signals, &quitting);
    if (options.until_eof) {
        fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
        watch_for_input(STDIN_FILENO, &quitting);
    }
    printf("%d\n", port);
    fflush(stdout);

    loop(signals);
    if (log)
        write_log(log);
    return 0;
}
