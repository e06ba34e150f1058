import t from 'tap';
import { type Agent, allStarted, codes, startCluster, succeed } from '../harness.js';

// The workers' store of several nodes.

/** The worker of rank 1 says how many keys it finds, and leaves one. */
const script = `
import os, socket, struct
LIST_KEYS, MULTI_SET, PING = b"\\x11", b"\\x0b", b"\\x0d"
def text(some):
    return struct.pack("<Q", len(some)) + some
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if os.environ["RANK"] == "1":
    with socket.create_connection(address) as store:
        store.sendall(b"\\x00" + struct.pack("<I", 0x3C85F7CE) + LIST_KEYS)
        keys, = struct.unpack("<Q", store.recv(8, socket.MSG_WAITALL))
        os.write(1, f"keys {keys}\\n".encode())
        store.sendall(MULTI_SET + struct.pack("<Q", 1) + text(b"left") + text(b"here") + PING + b"done")
        assert store.recv(4, socket.MSG_WAITALL) == b"done"
os.execvp("bash", ["bash", "test/fixtures/cluster_worker.sh"])
`;

t.test(
  "L-051 L-052 L-068 R-031 the store is the workers' alone, and none of a round's keys are the next one's",
  async t => {
    const cluster = await startCluster(t, 2);
    const [one, two] = cluster.nodes;
    const worker = ['--no-python', 'python3', '-c', script];
    const meeting = { nnodes: '2', worker, options: ['--max-restarts=1'] };
    const agents = [one, two].map(node => cluster.join(node, meeting));
    const [, second] = agents as [Agent, Agent];

    await allStarted(agents, 0);
    t.equal(await second.line(/^keys/), 'keys 0');
    two.tell('exit 3');
    await allStarted(agents, 1);
    t.equal(await second.line(/^keys/), 'keys 0');

    succeed([one, two]);
    t.strictSame(await codes(agents), [0, 0]);
  },
);
