/* What of the load client's hot path is worth doing in C?
 *
 * receive_within() waits for sockets, reads each once, notes when, and puts the segment where its stream goes: what
 * receiver.py does otherwise. skip_chunks() passes over chunks of a body: what http.py does otherwise. Both
 * leave to Python whatever asks for more. setup.py builds it on Linux only.
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "_chunks.h"

#define AT_ONCE 64        /* sockets that are read before what is left of them has its turn */
#define READ_SIZE 65536   /* bytes that one read takes at most */
#define STAMP_SPACE 64    /* bytes of ancillary data: room for one stamp */
#define SECOND 1000000000LL
#define SEGMENT 224       /* bytes beside the text of one that is stored, as room.py has it */

/* ns of time.perf_counter_ns(). */
static long long
clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

/* Wait so many ns at most. epoll_wait counts whole milliseconds; epoll_pwait2 came with Linux 5.11, and
 * before it, ppoll can wait for the epoll itself. */
static int
wait_for(int epoll, struct epoll_event *events, long long timeout)
{
    struct timespec left = {timeout / SECOND, timeout % SECOND};
#if defined(SYS_epoll_pwait2) && __SIZEOF_POINTER__ == 8
    static int known = 1;
    if (known) {
        long ready = syscall(SYS_epoll_pwait2, epoll, events, AT_ONCE, &left, NULL, (size_t)0);
        if (ready >= 0 || (errno != ENOSYS && errno != EPERM)) {
            return (int)ready;
        }
        known = 0; /* some sandboxes forbid what they do not know */
    }
#endif
    struct pollfd itself = {.fd = epoll, .events = POLLIN};
    int ready = ppoll(&itself, 1, &left, NULL);
    return ready > 0 ? epoll_wait(epoll, events, AT_ONCE, 0) : ready;
}

/* A segment as pending.py has it: when it was read, the kernel's stamp or None, and the bytes. */
static PyObject *
make_segment(struct msghdr *message, const char *data, ssize_t length)
{
    PyObject *read = PyLong_FromLongLong(clock_now());
    struct cmsghdr *ancillary = CMSG_FIRSTHDR(message);
    PyObject *stamp = Py_None;
    if (ancillary == NULL) {
        Py_INCREF(stamp);
    }
    else {
        Py_ssize_t size = (Py_ssize_t)ancillary->cmsg_len - (Py_ssize_t)CMSG_LEN(0);
        stamp = PyBytes_FromStringAndSize((const char *)CMSG_DATA(ancillary), size);
    }
    PyObject *bytes = PyBytes_FromStringAndSize(data, length);
    PyObject *segment = NULL;
    if (read != NULL && stamp != NULL && bytes != NULL) {
        segment = PyTuple_Pack(3, read, stamp, bytes);
    }
    Py_XDECREF(read);
    Py_XDECREF(stamp);
    Py_XDECREF(bytes);
    return segment;
}

/* http.may_end(), and whether it is the end of the connection. */
static int
may_end(const char *data, ssize_t length)
{
    return length == 0 || data[0] == '0' || memmem(data, (size_t)length, "\n0", 2) != NULL;
}

/* Note in left what Python has to see to; 0, or -1 with an exception. */
static int
leave(PyObject *left, PyObject *number, unsigned int ready, PyObject *came)
{
    PyObject *what = Py_BuildValue("(OIO)", number, ready, came);
    if (what == NULL) {
        return -1;
    }
    int status = PyList_Append(left, what);
    Py_DECREF(what);
    return status;
}

/* How much may still be stored, as room.py has it: of the level, then by 1 + file descriptor. */
struct room {
    long long *left;
    Py_ssize_t count;
};

/* Have room for a segment; 0 if there is none. */
static int
take(const struct room *room, int fd, ssize_t length)
{
    long long need = (long long)length + SEGMENT;
    if (fd < 0 || fd + 1 >= room->count || room->left[0] < need || room->left[fd + 1] < need) {
        return 0;
    }
    room->left[0] -= need;
    room->left[fd + 1] -= need;
    return 1;
}

/* Read a socket into its stream; 0, or -1 with an exception. */
static int
read_stream(PyObject *stream, const struct room *room, PyObject *number, const struct epoll_event *event,
            char *data, PyObject *left)
{
    _Alignas(struct cmsghdr) char ancillary[STAMP_SPACE];
    struct iovec place = {data, READ_SIZE};
    struct msghdr message = {
        .msg_iov = &place,
        .msg_iovlen = 1,
        .msg_control = ancillary,
        .msg_controllen = STAMP_SPACE,
    };
    ssize_t length = recvmsg(event->data.fd, &message, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        return 0;
    }
    PyObject *came = length < 0 ? PyObject_CallFunction(PyExc_OSError, "is", errno, strerror(errno))
                                : make_segment(&message, data, length);
    int status = -1;
    if (came != NULL) {
        int needs_more = length < 0 || may_end(data, length) || !take(room, event->data.fd, length);
        status = needs_more ? leave(left, number, event->events, came) : PyList_Append(stream, came);
        Py_DECREF(came);
    }
    return status;
}

/* See to one socket that is ready; 0, or -1 with an exception. */
static int
see_to(const struct epoll_event *event, PyObject *streams, const struct room *room, char *data,
       PyObject *left)
{
    PyObject *number = PyLong_FromLong(event->data.fd);
    if (number == NULL) {
        return -1;
    }
    PyObject *stream = PyDict_GetItemWithError(streams, number);
    int status = -1;
    if (stream != NULL && event->events == EPOLLIN) {
        status = read_stream(stream, room, number, event, data, left);
    }
    else if (!PyErr_Occurred()) {
        status = leave(left, number, event->events, Py_None);
    }
    Py_DECREF(number);
    return status;
}

PyDoc_STRVAR(receive_doc, "receive_within($module, epoll, streams, room, timeout, /)\n--\n\n"
                          "Store what arrives in *streams*, until something arrives that needs more than that or\n"
                          "for which there is no *room*, or for *timeout* ns; returns what does.");

static PyObject *
receive_into(int epoll, PyObject *streams, const struct room *room, long long timeout)
{
    struct epoll_event events[AT_ONCE];
    char data[READ_SIZE];
    PyObject *left = PyList_New(0);
    if (left == NULL) {
        return NULL;
    }
    long long end = clock_now() + timeout;
    do {
        int ready;
        Py_BEGIN_ALLOW_THREADS
        ready = wait_for(epoll, events, timeout > 0 ? timeout : 0);
        Py_END_ALLOW_THREADS
        if (ready < 0 && errno != EINTR) {
            PyErr_SetFromErrno(PyExc_OSError);
        }
        if (ready < 0 && (PyErr_Occurred() || PyErr_CheckSignals())) {
            Py_DECREF(left);
            return NULL;
        }
        for (int i = 0; i < ready; i++) {
            if (see_to(&events[i], streams, room, data, left)) {
                Py_DECREF(left);
                return NULL;
            }
        }
        timeout = end - clock_now();
    } while (timeout > 0 && PyList_Size(left) == 0);
    return left;
}

static PyObject *
receive_within(PyObject *module, PyObject *args)
{
    int epoll;
    PyObject *streams;
    Py_buffer view;
    long long timeout;
    (void)module;
    if (!PyArg_ParseTuple(args, "iO!w*L:receive_within", &epoll, &PyDict_Type, &streams, &view, &timeout)) {
        return NULL;
    }
    struct room room = {view.buf, view.len / (Py_ssize_t)sizeof(long long)};
    PyObject *left = receive_into(epoll, streams, &room, timeout);
    PyBuffer_Release(&view);
    return left;
}

PyDoc_STRVAR(skip_chunks_doc, "skip_chunks($module, data, at, /)\n--\n\n"
                              "Where *data*, in which a chunk begins at *at*, has something else than whole\n"
                              "chunks: its length if nowhere. A chunk with an extension is something else, and\n"
                              "so is the last one.");

static PyObject *
skip_chunks(PyObject *module, PyObject *args)
{
    const char *data;
    Py_ssize_t length, at;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#n:skip_chunks", &data, &length, &at)) {
        return NULL;
    }
    return PyLong_FromSsize_t(pass_chunks(data, length, at));
}

static PyMethodDef methods[] = {
    {"receive_within", receive_within, METH_VARARGS, receive_doc},
    {"skip_chunks", skip_chunks, METH_VARARGS, skip_chunks_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
