import CLinux

/// What this process holds of the machine's memory.
public enum ProcessMemory {
    /// Gives back the pages of machine code and constants that only the start touched. The kernel maps sixteen pages around each
    /// one that is run, so that starting leaves most of a large program resident; what runs from now on is mapped again, from the
    /// page cache.
    public static func releaseCode() { clinux_release_program_text() }

    /// From now on large blocks go back to the system when they are freed, in whichever order that is.
    public static func keepNoLargeBlocks() { clinux_keep_no_large_blocks() }
}
