/* SPDX-License-Identifier: Apache-2.0 */
/* One file: an ELF object of either class (little endian), a script, or something else. */
#include "elf/programs.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define HEADERS_MAX 512
#define NEEDED_MAX 1024
#define DYNAMIC_MAX 4096 /* entries */
#define TEXT_MAX 16384
#define TEXTS_MAX ((size_t)4 * TEXT_MAX) /* of one object, all together */
#define SCRIPT_MAX 256                   /* what the kernel reads of a script, BINPRM_BUF_SIZE */

struct segment {
	uint64_t offset, vaddr, file_size;
};

struct reader {
	int fd;
	bool wide; /* 64 bits */
	struct segment load[HEADERS_MAX];
	unsigned n_load;
	struct segment dynamic, interp;
	size_t texts; /* bytes kept */
};

static int read_at(int fd, void *data, size_t size, uint64_t offset)
{
	ssize_t n;

	if (offset > INT64_MAX - size)
		return -ENOEXEC;
	n = pread(fd, data, size, (off_t)offset);
	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -ENOEXEC;
}

/* A text of at most `limit` bytes with its NUL, malloc'd to *ret. */
static int read_text(int fd, uint64_t offset, uint64_t limit, char **ret)
{
	char text[TEXT_MAX];
	size_t most = limit < sizeof(text) ? (size_t)limit : sizeof(text);
	ssize_t n;

	if (offset > INT64_MAX - sizeof(text))
		return -ENOEXEC;
	n = pread(fd, text, most, (off_t)offset);
	if (n < 0)
		return -errno;
	if (!memchr(text, 0, (size_t)n))
		return -ENOEXEC;
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int read_header(struct reader *r, const unsigned char *head, struct elf_object *o)
{
	uint64_t offset, entry_size, n;

	if (head[EI_DATA] != ELFDATA2LSB)
		return -ENOEXEC;
	o->class = head[EI_CLASS];
	r->wide = o->class == ELFCLASS64;
	if (r->wide) {
		Elf64_Ehdr h;

		memcpy(&h, head, sizeof(h));
		o->machine = h.e_machine;
		offset = h.e_phoff;
		entry_size = h.e_phentsize;
		n = h.e_phnum;
	} else if (o->class == ELFCLASS32) {
		Elf32_Ehdr h;

		memcpy(&h, head, sizeof(h));
		o->machine = h.e_machine;
		offset = h.e_phoff;
		entry_size = h.e_phentsize;
		n = h.e_phnum;
	} else {
		return -ENOEXEC;
	}
	if (n > HEADERS_MAX ||
	    (n && entry_size != (r->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr))))
		return -ENOEXEC;
	for (uint64_t i = 0; i < n; i++) {
		struct segment s;
		uint32_t type;
		int rc;

		if (r->wide) {
			Elf64_Phdr p = {0};

			rc = read_at(r->fd, &p, sizeof(p), offset + i * sizeof(p));
			s = (struct segment){p.p_offset, p.p_vaddr, p.p_filesz};
			type = p.p_type;
		} else {
			Elf32_Phdr p = {0};

			rc = read_at(r->fd, &p, sizeof(p), offset + i * sizeof(p));
			s = (struct segment){p.p_offset, p.p_vaddr, p.p_filesz};
			type = p.p_type;
		}
		if (rc < 0)
			return rc;
		if (type == PT_LOAD)
			r->load[r->n_load++] = s;
		else if (type == PT_DYNAMIC)
			r->dynamic = s;
		else if (type == PT_INTERP)
			r->interp = s;
	}
	return 0;
}

/* Where in the file the address lies; *ret_left: how much of its segment follows. */
static int to_offset(const struct reader *r, uint64_t vaddr, uint64_t *ret, uint64_t *ret_left)
{
	for (unsigned i = 0; i < r->n_load; i++) {
		const struct segment *s = &r->load[i];

		if (vaddr < s->vaddr || vaddr - s->vaddr >= s->file_size)
			continue;
		if (__builtin_add_overflow(s->offset, vaddr - s->vaddr, ret))
			return -ENOEXEC;
		*ret_left = s->file_size - (vaddr - s->vaddr);
		return 0;
	}
	return -ENOEXEC;
}

struct entry {
	int64_t tag;
	uint64_t value;
};

/* 1: *ret is the i-th entry, 0: past the end. */
static int dynamic_entry(const struct reader *r, uint64_t i, struct entry *ret)
{
	uint64_t size = r->wide ? sizeof(Elf64_Dyn) : sizeof(Elf32_Dyn);
	int rc;

	if (i >= DYNAMIC_MAX)
		return -ENOEXEC;
	if (i >= r->dynamic.file_size / size)
		return 0;
	if (r->wide) {
		Elf64_Dyn d = {0};

		rc = read_at(r->fd, &d, sizeof(d), r->dynamic.offset + i * size);
		*ret = (struct entry){d.d_tag, d.d_un.d_val};
	} else {
		Elf32_Dyn d = {0};

		rc = read_at(r->fd, &d, sizeof(d), r->dynamic.offset + i * size);
		*ret = (struct entry){d.d_tag, d.d_un.d_val};
	}
	return rc < 0 ? rc : ret->tag != DT_NULL;
}

static int add_needed(struct elf_object *o, char *name)
{
	char **grown = o->n_needed < NEEDED_MAX
			       ? realloc(o->needed, (o->n_needed + 1) * sizeof(*grown))
			       : NULL;

	if (!grown) {
		free(name);
		return o->n_needed < NEEDED_MAX ? -ENOMEM : -ENOEXEC;
	}
	o->needed = grown;
	grown[o->n_needed++] = name;
	return 0;
}

static int take_entry(struct reader *r, const struct entry *d, uint64_t strings,
		      uint64_t strings_size, struct elf_object *o)
{
	char **kept = d->tag == DT_RPATH     ? &o->rpath
		      : d->tag == DT_RUNPATH ? &o->runpath
		      : d->tag == DT_SONAME  ? &o->soname
					     : NULL;
	char *text = NULL;
	int rc;

	if (d->tag == DT_FLAGS_1 && d->value & DF_1_NODEFLIB)
		o->no_default = true;
	if (d->tag != DT_NEEDED && !kept)
		return 0;
	if (d->value >= strings_size)
		return -ENOEXEC;
	rc = read_text(r->fd, strings + d->value, strings_size - d->value, &text);
	if (rc < 0 || !text)
		return rc;
	r->texts += strlen(text) + 1;
	if (r->texts > TEXTS_MAX) {
		free(text);
		return -ENOEXEC;
	}
	if (!kept)
		return add_needed(o, text);
	free(*kept);
	*kept = text;
	return 0;
}

static int read_dynamic(struct reader *r, struct elf_object *o)
{
	uint64_t vaddr = 0, size = 0, strings, left;
	struct entry d;
	int rc;

	for (uint64_t i = 0; (rc = dynamic_entry(r, i, &d)) > 0; i++) {
		if (d.tag == DT_STRTAB)
			vaddr = d.value;
		else if (d.tag == DT_STRSZ)
			size = d.value;
	}
	if (rc < 0 || !size)
		return rc;
	rc = to_offset(r, vaddr, &strings, &left);
	if (rc < 0)
		return rc;
	size = size < left ? size : left;
	if (strings > INT64_MAX - size)
		return -ENOEXEC;
	for (uint64_t i = 0; rc == 0; i++) {
		rc = dynamic_entry(r, i, &d);
		if (rc <= 0)
			return rc;
		rc = take_entry(r, &d, strings, size, o);
	}
	return rc;
}

static char *next_word(char **at, const char *stop)
{
	char *word = *at + strspn(*at, " \t"), *end = word + strcspn(word, stop);

	*at = end + (*end != 0);
	*end = 0;
	return *word ? strdup(word) : NULL;
}

static int read_script(char *text, struct elf_object *o)
{
	char *at = text + 2, *line_end = at + strcspn(at, "\n");

	*line_end = 0;
	while (line_end > at && strchr(" \t", line_end[-1]))
		*--line_end = 0;
	o->kind = ELF_SCRIPT;
	o->interp = next_word(&at, " \t");
	if (!o->interp)
		return -ENOEXEC;
	o->argument = next_word(&at, "");
	return 0;
}

int elf_object_read(int fd, struct elf_object *ret)
{
	struct reader *r = calloc(1, sizeof(*r));
	union {
		unsigned char bytes[sizeof(Elf64_Ehdr)];
		char script[SCRIPT_MAX + 1];
	} head = {0};
	ssize_t n = r ? pread(fd, &head, SCRIPT_MAX, 0) : 0;
	int rc = n < 0 ? -errno : 0;

	*ret = (struct elf_object){0};
	if (!r)
		return -ENOMEM;
	r->fd = fd;
	if (rc == 0 && n > 2 && head.script[0] == '#' && head.script[1] == '!') {
		rc = read_script(head.script, ret);
	} else if (rc == 0 && (size_t)n >= sizeof(Elf32_Ehdr) &&
		   memcmp(head.bytes, ELFMAG, SELFMAG) == 0) {
		ret->kind = ELF_OBJECT;
		rc = head.bytes[EI_CLASS] == ELFCLASS64 && (size_t)n < sizeof(Elf64_Ehdr)
			     ? -ENOEXEC
			     : read_header(r, head.bytes, ret);
		if (rc == 0 && r->interp.file_size)
			rc = read_text(fd, r->interp.offset, r->interp.file_size, &ret->interp);
		if (rc == 0 && r->dynamic.file_size)
			rc = read_dynamic(r, ret);
	}
	free(r);
	if (rc < 0)
		elf_object_done(ret);
	return rc;
}

int elf_object_kind(int fd, struct elf_object *ret)
{
	Elf32_Ehdr h; /* of either class: they differ behind e_version */
	ssize_t n = pread(fd, &h, sizeof(h), 0);

	*ret = (struct elf_object){0};
	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(h) || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 ||
	    h.e_ident[EI_DATA] != ELFDATA2LSB)
		return -ENOEXEC;
	ret->kind = ELF_OBJECT;
	ret->class = h.e_ident[EI_CLASS];
	ret->machine = h.e_machine;
	return 0;
}

void elf_object_done(struct elf_object *o)
{
	for (size_t i = 0; i < o->n_needed; i++)
		free(o->needed[i]);
	free(o->needed);
	free(o->interp);
	free(o->argument);
	free(o->soname);
	free(o->rpath);
	free(o->runpath);
	*o = (struct elf_object){0};
}
