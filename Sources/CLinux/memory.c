#define _GNU_SOURCE
#include "CLinux.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

static int release(struct dl_phdr_info *object, size_t size, void *context) {
    (void)size;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        // A segment that was writable at any time holds relocations, which are in no file.
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W)) continue;
        uintptr_t begin = (object->dlpi_addr + segment->p_vaddr) & ~(page - 1);
        uintptr_t end = (object->dlpi_addr + segment->p_vaddr + segment->p_filesz) & ~(page - 1);
        // Fails where there is nothing to unmap, as in the kernel's own page of code.
        if (begin < end) (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
    }
    (void)context;
    return 0;
}

void clinux_release_program_text(void) { dl_iterate_phdr(release, NULL); }

void clinux_keep_no_large_blocks(void) { mallopt(M_MMAP_THRESHOLD, 256 << 10); }
