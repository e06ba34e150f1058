#ifndef REGROUP_SHM_READER_H
#define REGROUP_SHM_READER_H

#include <stddef.h>
#include <stdint.h>

/* Reads a store's shared memory, without a system call and without the server's help. A plain C
 * interface, for Python's ctypes, Node and C alike. It needs no other file of ours but layout.h.
 *
 * The segment isn't trusted: a torn, stale or hostile one gives an answer below, never a crash, a
 * read outside the mapping or an endless loop. A reader holds no state that changes; any number of
 * threads may share one, and a forked child may go on with it. */

#ifdef __cplusplus
extern "C" {
#endif

/* For a library of its own; within the addon nobody looks for them. */
#ifdef REGROUP_SHM_SHARED
#define REGROUP_SHM_API __attribute__((visibility("default")))
#else
#define REGROUP_SHM_API
#endif

typedef struct regroup_shm_reader regroup_shm_reader;

/* Answers. */
#define REGROUP_SHM_OK 0
#define REGROUP_SHM_NOT_FOUND 1 /* the store had no such key at that moment */
/* Can't tell from here: left out, being rewritten, emptied, closed. */
#define REGROUP_SHM_ASK_TCP 2
#define REGROUP_SHM_TOO_SMALL 3 /* the key is there; *value_bytes tells what it takes */
#define REGROUP_SHM_TIMED_OUT 4
#define REGROUP_SHM_INTERRUPTED 5 /* a signal came; call again with the time that's left */
/* Errors. The caller should close the reader and use TCP from then on. */
#define REGROUP_SHM_ESYSTEM (-1)   /* a system call failed; errno says why */
#define REGROUP_SHM_EFORMAT (-2)   /* not a segment of ours, not sealed, or damaged */
#define REGROUP_SHM_EVERSION (-3)  /* another version of the format */
#define REGROUP_SHM_EARGUMENT (-4) /* a null pointer, or memory that is not aligned */

/* Maps the segment read-only. `fd` stays the caller's and may be closed afterwards.
 * Gives OK and a reader, to be closed; or ESYSTEM, EFORMAT, EVERSION, EARGUMENT. */
REGROUP_SHM_API int regroup_shm_open(int fd, regroup_shm_reader** reader);

/* The same over memory that the caller has mapped, and keeps mapped, at a multiple of 64. */
REGROUP_SHM_API int regroup_shm_attach(const void* memory, size_t bytes,
                                       regroup_shm_reader** reader);

/* Copies the key's value. `value` may be null if `capacity` is 0. `value_bytes` gets the value's
 * size with OK and TOO_SMALL. With any other answer than OK the buffer's content is undefined.
 * Gives OK, NOT_FOUND, ASK_TCP, TOO_SMALL, EFORMAT, EARGUMENT. */
REGROUP_SHM_API int regroup_shm_get(const regroup_shm_reader* reader, const void* key,
                                    size_t key_bytes, void* value, size_t capacity,
                                    size_t* value_bytes);

/* The same, and sleeps until the key is there, `timeout_ms` at most. Gives what get gives but
 * NOT_FOUND, and TIMED_OUT, INTERRUPTED, ESYSTEM. */
REGROUP_SHM_API int regroup_shm_wait(const regroup_shm_reader* reader, const void* key,
                                     size_t key_bytes, void* value, size_t capacity,
                                     size_t* value_bytes, uint32_t timeout_ms);

/* The word that the server tells all its readers; 0 until it has told one. */
REGROUP_SHM_API uint32_t regroup_shm_notice(const regroup_shm_reader* reader);

/* Sleeps until that word isn't `known`, `timeout_ms` at most. Gives OK and the word, ASK_TCP (the
 * server is gone), TIMED_OUT, INTERRUPTED, ESYSTEM, EARGUMENT. */
REGROUP_SHM_API int regroup_shm_wait_notice(const regroup_shm_reader* reader, uint32_t known,
                                            uint32_t* notice, uint32_t timeout_ms);

/* Null is ignored. */
REGROUP_SHM_API void regroup_shm_close(regroup_shm_reader* reader);

#ifdef __cplusplus
}
#endif

#endif
