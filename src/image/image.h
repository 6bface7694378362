/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: the image format: what a checkpoint wrote and a restore reads. docs/IMAGE.md is normative.
 *
 * An image is one sealed memfd: a header page, the copied memory pages, the description (tables of
 * fixed-size records and a heap of bytes). This room is pure: it neither opens nor maps anything.
 * The encoder is fed by fork/; the decoder takes bytes that may be hostile and hands out tables in
 * which every index, length, offset and address has been checked, so that a reader needs no check
 * of its own. Nothing in an image says how a clone is confined.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define IMAGE_MAGIC 0x31474d4956454c43ULL /* "CLEVIMG1" */
#define IMAGE_VERSION 3
#define IMAGE_PAGE 4096u
#define IMAGE_NONE UINT32_MAX               /* an index that refers to nothing */
#define IMAGE_ADDRESS_END 0x7ffffffff000ULL /* first address that no program has (4 levels) */

/* Upper bounds: a decoder never walks or allocates more. */
#define IMAGE_MAX_RECORDS (1u << 22)
#define IMAGE_MAX_DESCRIPTION (1u << 28)
#define IMAGE_MAX_FD (1u << 20)
#define IMAGE_MAX_AFFINITY 128u
#define IMAGE_MAX_PTY 64u /* a clone makes all terminals up to the highest index */
#define IMAGE_MAX_SHARED (1ull << 40)

enum image_section {
#define SECTION(id, type) IMAGE_##id,
#include "image/sections.def"
#undef SECTION
	IMAGE_SECTION_N
};

/* Bytes in the heap; length 0 means absent. Strings carry their NUL inside the length. */
struct image_ref {
	uint64_t offset;
	uint64_t bytes;
};

/* A slice of another table. */
struct image_span {
	uint32_t first;
	uint32_t count;
};

/* What the image is bound to: it is refused where any of these differs. */
struct image_host {
	char release[72], version[72], machine[24];
	uint64_t xstate_features; /* of a signal frame */
	uint32_t xstate_bytes;
	uint32_t vdso_bytes;
};

struct image_header {
	uint64_t magic;
	uint32_t version;
	uint32_t header_bytes;
	uint64_t file_bytes;
	uint64_t pages_offset, pages_bytes;
	uint64_t desc_offset, desc_bytes;
	struct image_host host;
	struct {
		uint64_t offset; /* in the description */
		uint32_t count;
		uint32_t record_bytes;
	} section[IMAGE_SECTION_N];
};

/* struct prctl_mm_map without its pointers, in the kernel's order. */
struct image_mm {
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start,
		arg_end, env_start, env_end;
};

enum image_proc_flag {
	IMAGE_PROC_ZOMBIE = 1,    /* exit_code is valid, nothing else of the process exists */
	IMAGE_PROC_SUBREAPER = 2, /* PR_SET_CHILD_SUBREAPER */
	IMAGE_PROC_NO_THP = 4,
	IMAGE_PROC_STOPPED = 8,            /* job control stop */
	IMAGE_PROC_MEMBARRIER_GLOBAL = 16, /* registered for these membarrier commands */
	IMAGE_PROC_MEMBARRIER_PRIVATE = 32,
	IMAGE_PROC_MEMBARRIER_SYNC_CORE = 64,
	IMAGE_PROC_MEMBARRIER_RSEQ = 128,
	IMAGE_PROC_TILES = 256,      /* may use AMX tiles, has none in use */
	IMAGE_PROC_UNDUMPABLE = 512, /* PR_SET_DUMPABLE 0, or what is as good */
	IMAGE_PROC_FLAGS = 1023,
};

struct image_itimer {
	uint64_t interval_us, value_us;
};

struct image_proc {
	int32_t pid, pgid, sid; /* in the sandbox's pid namespace, >= 2 */
	uint32_t parent;        /* index of an earlier process, IMAGE_NONE = init */
	uint32_t flags;
	uint32_t umask;
	uint32_t personality;
	int32_t exit_code; /* as wait4 gives it, zombies only */
	int32_t oom_score_adj;
	uint32_t exe, cwd; /* FILE */
	uint32_t pdeathsig;
	uint32_t pty; /* of a session's leader: its terminal; else IMAGE_NONE */
	uint32_t pad;
	struct image_span threads, maps, fds, actions, pendings;
	struct image_mm mm;
	struct image_ref auxv;
	struct image_itimer itimer[3];
	uint64_t rlimit[16][2]; /* soft, hard; a restore only ever lowers */
};

/* General registers in the order of the kernel's struct user_regs_struct. */
struct image_regs {
	uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax,
		rip, cs, eflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs;
};

enum image_thread_flag {
	IMAGE_THREAD_POLICY = 1, /* its own scheduling policy; else the sandbox's */
	IMAGE_THREAD_RESET_ON_FORK = 2,
	IMAGE_THREAD_IO_PRIORITY = 4, /* the same */
	IMAGE_THREAD_FLAGS = 7,
};

struct image_thread {
	int32_t tid;
	int32_t nice;
	char comm[16];
	struct image_regs regs;  /* as they must be when the thread goes on */
	struct image_ref xstate; /* XSAVE area, standard format */
	uint64_t sigmask;
	uint64_t rseq, robust_list, robust_bytes, tid_address;
	uint32_t rseq_bytes, rseq_sig;
	uint64_t altstack, altstack_bytes;
	uint32_t altstack_flags;
	uint8_t flags, policy; /* SCHED_OTHER, SCHED_BATCH, SCHED_IDLE */
	uint16_t io_priority;  /* as ioprio_get gives it */
	uint64_t timer_slack_ns;
	struct image_ref affinity; /* a bit for each processor; absent: the sandbox's */
	struct image_span pendings;
};

enum image_map_kind {
	IMAGE_MAP_ANON,
	IMAGE_MAP_FILE,
	IMAGE_MAP_STACK, /* MAP_GROWSDOWN */
	IMAGE_MAP_VDSO,
	IMAGE_MAP_VVAR,  /* also vvar_vclock */
	IMAGE_MAP_SHMEM, /* shared memory; file = SHARED */
	IMAGE_MAP_KIND_N
};

enum image_map_flag {
	IMAGE_MAP_NORESERVE = 1,
	IMAGE_MAP_WIPEONFORK = 2,
	IMAGE_MAP_DROPPABLE = 4,
	IMAGE_MAP_DONTFORK = 8,
	IMAGE_MAP_HUGE = 16,
	IMAGE_MAP_NOHUGE = 32,
	IMAGE_MAP_DONTDUMP = 64,
	IMAGE_MAP_SEQUENTIAL = 128,
	IMAGE_MAP_RANDOM = 256,
	IMAGE_MAP_MERGEABLE = 512,
	IMAGE_MAP_SHARED = 1024,   /* kind FILE: MAP_SHARED, */
	IMAGE_MAP_WRITABLE = 2048, /* of a file opened for writing too */
	IMAGE_MAP_FLAGS = 4095,
};

/* A mapping. Those of one process are sorted and disjoint. */
struct image_map {
	uint64_t start, end;
	uint32_t kind, prot, flags;
	uint32_t file; /* FILE for kind FILE */
	uint64_t file_offset;
	struct image_span runs;
};

/* Consecutive pages of a mapping that lie in the image. Sorted, inside their mapping. */
struct image_run {
	uint64_t start, end;
	uint64_t offset; /* in the image file; 0: a guard region, whose access ends in SIGSEGV */
};

enum image_file_flag {
	IMAGE_FILE_CARRIED =
		1, /* on the sandbox's own disk: dev, inode and times differ in a clone */
	IMAGE_FILE_FLAGS = 1,
};

/* A file or directory inside the sandbox, by its absolute path there. */
struct image_file {
	struct image_ref path;
	uint64_t dev, ino, size;
	int64_t mtime_ns, ctime_ns;
	uint32_t mode, flags;
};

/* Memory that processes share: no file has it, or one without a name (memfd, deleted). */
struct image_shared {
	uint64_t bytes;
	struct image_ref name;  /* for people: of a memfd */
	struct image_span runs; /* start and end count in the object, after all runs of mappings */
	uint32_t seals;         /* F_SEAL_* */
	uint32_t pad;
};

enum image_ofd_kind {
	IMAGE_OFD_FILE,   /* ref = FILE */
	IMAGE_OFD_DIR,    /* ref = FILE */
	IMAGE_OFD_DEV,    /* ref = FILE, one of the harmless character devices */
	IMAGE_OFD_PIPE,   /* ref = PIPE; the end by the access mode */
	IMAGE_OFD_STDIO,  /* ref = 0, 1, 2: leads to the keeper */
	IMAGE_OFD_EVENT,  /* eventfd; value = counter, ref = 1: semaphore */
	IMAGE_OFD_EPOLL,  /* watches = its set */
	IMAGE_OFD_TIMER,  /* timerfd; ref = clock id; value, interval in ns */
	IMAGE_OFD_SIGNAL, /* signalfd; value = mask */
	IMAGE_OFD_SOCKET, /* unix socket pair; ref = SOCKET */
	IMAGE_OFD_PIDFD,  /* ref = the pid inside */
	IMAGE_OFD_SHARED, /* ref = SHARED; value 1: a file, not a memfd, in the source */
	IMAGE_OFD_PTY,    /* ref = PTY; value 0: the terminal's side, 1: the master */
	IMAGE_OFD_KIND_N
};

/* An open file description, shared by all descriptors that name it. */
struct image_ofd {
	uint32_t kind, ref;
	uint32_t status_flags; /* O_* as F_GETFL gives them */
	uint32_t pad;
	uint64_t position;
	uint64_t value, interval;
	struct image_span watches;
};

struct image_fd {
	uint32_t number;
	uint32_t ofd;
	uint32_t cloexec;
	uint32_t pad;
};

struct image_pipe {
	uint64_t capacity;
	struct image_ref content;
};

struct image_watch {
	uint32_t fd; /* number in the process that registered it */
	uint32_t events;
	uint64_t data;
	uint32_t ofd; /* the description watched */
	uint32_t pad;
};

/* One end of a connected unix socket pair; peer = IMAGE_NONE: the other end is gone. */
struct image_socket {
	uint32_t type; /* SOCK_* */
	uint32_t peer;
	uint32_t sndbuf, rcvbuf;
	uint32_t shutdown; /* 1 = no more receives, 2 = no more sends */
	uint32_t passcred;
	struct image_ref content; /* (u32 length, bytes)* of what it has not received yet */
};

enum image_pty_flag {
	IMAGE_PTY_KEEPER = 1, /* the master is the clone's keeper's: the main command's terminal */
	IMAGE_PTY_MASTER = 2, /* a process of the image has the master */
	IMAGE_PTY_CLOSED = 4, /* the terminal's side was open once and is not any more */
	IMAGE_PTY_LOCKED = 8,
	IMAGE_PTY_PACKET = 16,
	IMAGE_PTY_FLAGS = 31,
};

/* A terminal of the sandbox's own devpts. What is under way in it is not carried. */
struct image_pty {
	uint32_t index; /* /dev/pts/INDEX; ascending */
	uint32_t flags;
	int32_t foreground; /* the group; 0: that of the session's leader, or none */
	uint32_t pad;
	uint8_t termios[44]; /* the kernel's struct termios2 */
	uint16_t size[4];    /* struct winsize */
	uint32_t tail;
};

struct image_action {
	uint32_t signo;
	uint32_t pad;
	uint64_t handler, flags, restorer, mask;
};

/* A queued signal, as the kernel's siginfo. */
struct image_pending {
	uint8_t siginfo[128];
};

struct image_byte {
	uint8_t value;
};

/* A decoded image. All pointers lead into the caller's bytes, which must outlive it. */
struct image {
	const struct image_header *header;
#define SECTION(id, type)                \
	const struct image_##type *type; \
	uint32_t type##_n;
#include "image/sections.def"
#undef SECTION
};

/* The encoder: growing tables. Zero it before the first use. */
struct image_table {
	void *data;
	uint32_t count, room;
};

struct image_builder {
	struct image_table table[IMAGE_SECTION_N];
	struct image_host host;
	uint64_t pages_bytes; /* copied so far; the next page goes to IMAGE_PAGE + pages_bytes */
};

/*
 * Appends a zeroed record to a section and returns it; NULL without memory or past
 * IMAGE_MAX_RECORDS. The pointer dies with the next append to the same section. Context: any.
 */
void *image_builder_add(struct image_builder *b, enum image_section section, uint32_t *ret_index);
static inline uint32_t image_builder_count(const struct image_builder *b, enum image_section s)
{
	return b->table[s].count;
}
void *image_builder_at(const struct image_builder *b, enum image_section section, uint32_t index);
/* Copies bytes into the heap. Returns 0 or -ENOMEM. */
int image_builder_bytes(struct image_builder *b, const void *p, size_t n, struct image_ref *ret);
void image_builder_done(struct image_builder *b);

/*
 * Header and description as bytes: *ret_header (IMAGE_PAGE bytes) belongs at offset 0 of the file,
 * *ret_desc at header->desc_offset. The caller frees both. Returns 0 or -ENOMEM.
 */
int image_encode(const struct image_builder *b, struct image_header *ret_header, void **ret_desc);

/*
 * Checks an image. header: the first sizeof(struct image_header) bytes; desc: the description,
 * 8-byte aligned; file_bytes: the real length of the file. Returns 0 or -EINVAL with a sentence in
 * *e. After 0, *ret refers to both buffers.
 */
int image_decode(const struct image_header *header, const void *desc, size_t desc_bytes,
		 uint64_t file_bytes, struct image *ret, struct err *e);
/* The part of image_decode that can run before the description is read: is its place sane? */
int image_header_check(const struct image_header *header, uint64_t file_bytes, struct err *e);

/* Where the image may run: 0, or -EINVAL with what differs. */
int image_host_check(const struct image_host *image, const struct image_host *here, struct err *e);

static inline const uint8_t *image_bytes(const struct image *im, struct image_ref r)
{
	return (const uint8_t *)im->byte + r.offset;
}
