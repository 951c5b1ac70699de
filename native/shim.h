/* The few things that Python's own modules can't ask the kernel for. Each returns a number >= 0,
 * or minus an errno; nothing here decides anything. cffi reads this file as it is. */

/* How to start the executor. Descriptors are -1 where there is none. */
struct spawn {
    int executor;          /* sealed memfd with the executor's image */
    int plan;              /* sealed memfd with the encoded plan */
    int control;           /* SOCK_SEQPACKET to the runtime */
    int cgroup;            /* cgroup v2 directory to be born in (CLONE_INTO_CGROUP), or -1 */
    int standard[3];       /* what becomes 0, 1 and 2; -1: inherit */
    const int *keep;       /* further descriptors the plan names; every other one is closed */
    size_t keep_count;
    int pidfd;             /* out: pidfd of the new process */
};

/* Starts the executor; the new process's pid. The caller's memory is lent until execveat(2). */
int shim_spawn(struct spawn *request);

/* A memfd that can't be written to any more, with a copy of a file, or of `size` bytes. */
int shim_sealed_file(int file, const char *name);
int shim_sealed_data(const char *data, size_t size, const char *name);

/* openat2(2) with RESOLVE_* in `resolve`. */
int shim_open_beneath(int root, const char *path, int flags, int mode, uint64_t resolve);

/* open_tree(2): a detached copy of the mounts at `path` if flags has OPEN_TREE_CLONE. */
int shim_open_tree(int directory, const char *path, unsigned flags);

/* mount_setattr(2) on a descriptor of a mount: `idmap` is a user namespace for MOUNT_ATTR_IDMAP, or -1. */
int shim_change_mount(int mount, int recursive, uint64_t propagation, int idmap);

/* prctl(2) with one number. */
int shim_prctl(int option, unsigned long value);

/* sched_setattr(2) with a struct sched_attr, and ioprio_set(2), of another process. */
int shim_set_scheduler(int pid, const char *attributes);
int shim_set_io_priority(int pid, int priority);

/* signalfd(2) for every signal; the caller has blocked them. */
int shim_signal_fd(void);

/* Makes an eBPF program of type CGROUP_DEVICE the only one that is attached to a cgroup v2
 * directory; with size 0 none is. */
int shim_set_device_filter(int cgroup, const char *instructions, size_t size);

/* Sockets of packets (SOCK_SEQPACKET) and streams, close-on-exec, without loading Python's own. A
 * path may be as long as open(2) takes: only its last part has to fit into a sockaddr_un. */
int shim_socket_pair(int ends[2]);
int shim_listen(const char *path);
int shim_connect(const char *path, int stream);
int shim_send(int socket, const char *data, size_t size, int descriptor);
/* One packet into `data`, its size; *descriptor is one that came along, or -1. 0 at the end; -EINTR lets
 * Python see to a signal. */
int shim_receive(int socket, char *data, size_t size, int *descriptor);

/* poll(2): `events` are asked for on entry, and what happened on return. -1 milliseconds: for ever. */
int shim_poll(int count, const int *descriptors, int *events, int milliseconds);
