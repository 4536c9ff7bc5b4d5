// ThreadSanitizer sees descriptors opened and closed by system calls only. One that io_uring closed
// it takes for open still, and for the thread's that had it; when another thread is given the same
// number next, by opening a file of /proc, that looks like a race about the descriptor. These
// functions share nothing else.
#ifdef __SANITIZE_THREAD__
// NOLINTNEXTLINE(bugprone-reserved-identifier, readability-identifier-naming): the runtime's name
extern "C" const char* __tsan_default_suppressions() {
  return "race:stats::ProcessTreeCpuNanos\n"
         "race:stats::ThreadsRan\n"
         "race:stats::ReadProcFile\n";
}
#endif
