import CLinux

/// The machine code and constants of this process, as far as they are mapped.
public enum ProgramText {
    /// Gives back the pages that only the start touched. The kernel maps sixteen pages around each one that is run, so that
    /// starting leaves most of a large program resident; what runs from now on is mapped again, from the page cache.
    public static func release() { clinux_release_program_text() }
}
