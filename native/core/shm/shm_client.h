#ifndef REGROUP_SHM_CLIENT_H
#define REGROUP_SHM_CLIENT_H

#include "core/shm/shm_reader.h"

/* A store's client over shared memory: a reader of its keys, and a lane to its server for all that
 * changes something. A plain C interface; it needs no other file of ours but the reader's.
 *
 * A client is for one thread at a time, but its reader is for any number of them. After a fork only
 * the reader still works in the child. Whatever fails, TCP does the same. */

#ifdef __cplusplus
extern "C" {
#endif

typedef struct regroup_shm_client regroup_shm_client;

/* The server has closed the lane, or has died. */
#define REGROUP_SHM_ECLOSED (-5)
/* The call was made in a forked child. */
#define REGROUP_SHM_EFORKED (-6)
/* Whoever listens there belongs to another user. */
#define REGROUP_SHM_EUSER (-7)
/* An earlier call was given up in the middle of a request or a reply; only the reader works now. */
#define REGROUP_SHM_EBROKEN (-8)

/* Connects to the socket that the server named, `@name` for an abstract one, and takes what it
 * gives. `timeout_ms` bounds the wait for the server. Gives OK and a client, to be closed; or
 * TIMED_OUT, ESYSTEM (errno: ECONNREFUSED: nobody's there), ECLOSED (refused), EFORMAT, EVERSION,
 * EUSER, EARGUMENT. */
REGROUP_SHM_API int regroup_shm_connect(const char* name, uint32_t timeout_ms,
                                        regroup_shm_client** client);

/* Null is ignored. The client's reader goes with it. */
REGROUP_SHM_API void regroup_shm_disconnect(regroup_shm_client* client);

/* Never null; lives as long as the client. */
REGROUP_SHM_API const regroup_shm_reader* regroup_shm_client_reader(
    const regroup_shm_client* client);

/* In the calls below `timeout_ms` bounds the whole call. */

/* Copies the key's value, waiting for the key if there's none. What this client has written before
 * is applied first. Gives what regroup_shm_wait gives, and ECLOSED, EFORKED, EBROKEN. After ASK_TCP
 * the server can be asked by regroup_shm_write too. */
REGROUP_SHM_API int regroup_shm_client_get(regroup_shm_client* client, const void* key,
                                           size_t key_bytes, void* value, size_t capacity,
                                           size_t* value_bytes, uint32_t timeout_ms);

/* set and add go on when a signal comes. If they time out the client may be broken, and what they
 * were to do may be done later. */

/* Stores the value. Returns when the server has been told, which is before it's applied. */
REGROUP_SHM_API int regroup_shm_set(regroup_shm_client* client, const void* key, size_t key_bytes,
                                    const void* value, size_t value_bytes, uint32_t timeout_ms);

/* Adds to the key's number, and gives the sum. */
REGROUP_SHM_API int regroup_shm_add(regroup_shm_client* client, const void* key, size_t key_bytes,
                                    int64_t delta, int64_t* sum, uint32_t timeout_ms);

/* Waits until the server has applied what this client has written. Gives OK, TIMED_OUT,
 * INTERRUPTED, or an error. */
REGROUP_SHM_API int regroup_shm_settle(regroup_shm_client* client, uint32_t timeout_ms);

/* Everything else, as bytes of TCPStore's protocol in the dialect of PyTorch 2.2 and later. The
 * hello has been sent. Both move as many bytes as they can, up to `bytes`, and add their number to
 * `*done`: call again with the rest after INTERRUPTED or TIMED_OUT. A reply must be read whole
 * before any of the calls above. Give OK when all are moved, INTERRUPTED, TIMED_OUT, or an error.
 */
REGROUP_SHM_API int regroup_shm_write(regroup_shm_client* client, const void* from, size_t bytes,
                                      size_t* done, uint32_t timeout_ms);
REGROUP_SHM_API int regroup_shm_read(regroup_shm_client* client, void* to, size_t bytes,
                                     size_t* done, uint32_t timeout_ms);

/* Tells whoever watches this worker that it lives, and where it is. No system call; works after a
 * fork, too. */
REGROUP_SHM_API void regroup_shm_beat(regroup_shm_client* client, uint32_t rank, uint64_t step,
                                      uint32_t phase);

#ifdef __cplusplus
}
#endif

#endif
