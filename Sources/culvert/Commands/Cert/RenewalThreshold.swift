import ArgumentParser
import FoundationEssentials

/// From when on a certificate is to be renewed.
enum RenewalThreshold: ExpressibleByArgument, Hashable, Sendable {
    /// `75%`: so much of its life is over.
    case elapsed(percent: Int)
    /// `2h`, `1h15m`: no more than this is left.
    case remaining(seconds: Int)

    init?(argument: String) {
        if argument.last == "%" {
            guard let percent = Int(argument.dropLast()), (0...100).contains(percent) else { return nil }
            self = .elapsed(percent: percent)
            return
        }
        var seconds = 0
        var digits = ""
        for character in argument {
            if character.isASCII, character.isNumber {
                digits.append(character)
                continue
            }
            // Nine digits of days are still far from an overflow.
            guard let size = ArgumentDuration.secondsIn[character], digits.utf8.count <= 9, let count = Int(digits)
            else { return nil }
            seconds += count * size
            digits = ""
        }
        guard digits.isEmpty, !argument.isEmpty, argument.utf8.count <= 64 else { return nil }
        self = .remaining(seconds: seconds)
    }

    var defaultValueDescription: String {
        switch self {
        case .elapsed(let percent): "\(percent)%"
        case .remaining(let seconds): CertificateOutput.duration(seconds)
        }
    }

    func isReached(_ life: CertificateLife) -> Bool {
        switch self {
        case _ where life.left < 0: true
        case .elapsed(let percent): (life.total - life.left) * 100 >= percent * life.total
        case .remaining(let seconds): life.left <= seconds
        }
    }
}

/// A certificate's validity in whole seconds, seen from one moment.
struct CertificateLife: Hashable, Sendable {
    let total: Int
    /// Negative once expired, more than `total` before it begins.
    let left: Int

    init(notBefore: Date, notAfter: Date, now: Date) {
        total = Int(notAfter.timeIntervalSince(notBefore))
        left = Int(notAfter.timeIntervalSince(now).rounded(.down))
    }

    /// Below 0 before it begins, above 100 once expired.
    var percentOver: Int { total > 0 ? Int((Double(total - left) * 100 / Double(total)).rounded(.down)) : 100 }

    /// For people.
    var words: String {
        if left < 0 { return "expired \(CertificateOutput.duration(-left)) ago" }
        if left > total { return "not valid for another \(CertificateOutput.duration(left - total))" }
        return
            "\(percentOver) % of \(CertificateOutput.duration(total)) over, \(CertificateOutput.duration(left)) left"
    }
}
