/*
 * Makes the pages that the start of every program of machine code writes, before it does.
 *
 * The compiler packs the program's tables (types and their references to each other) in the file, and the runtime unpacks them at each start
 * into some megabytes that the loader has only mapped, at the end of the program (.bss and .hydrated). That takes a page fault for every 4 KiB:
 * a third of the time until a server that was killed serves again, and more on virtual machines, where faults are dear. Asked for at once, and as
 * huge pages where the system gives some, they cost little. A kernel that knows neither (the second needs Linux 5.14) refuses, and nothing is lost.
 *
 * This runs before the runtime, which is why it is not written in C#.
 */
extern int madvise(void *address, unsigned long bytes, int advice);
extern char __bss_start[], _end[];

enum { PAGE = 4096, MADV_HUGEPAGE = 14, MADV_POPULATE_WRITE = 23 };

__attribute__((constructor)) static void prefault(void)
{
  unsigned long from = ((unsigned long)__bss_start + PAGE - 1) & ~(PAGE - 1ul), to = (unsigned long)_end & ~(PAGE - 1ul);
  madvise((void *)from, to - from, MADV_HUGEPAGE);
  madvise((void *)from, to - from, MADV_POPULATE_WRITE);
}
