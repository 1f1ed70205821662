#!/usr/bin/env bash
# Makes an offline root and an intermediate for Culvert's authority, with openssl alone. See README.md.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: generate.sh --trust-domain NAME [--out DIR] [--root DIR] [--root-days N] [--days N]

  --trust-domain NAME  the SPIFFE trust domain, for example culvert.demo
  --out DIR            where the four files for the authority go (default: ./NAME)
  --root DIR           where root-key.pem and root-cert.pem are, or are made (default: OUT/root); keep it offline
  --root-days N        life of a new root (default 3650)
  --days N             life of the intermediate (default 365)

writes OUT/ca-cert.pem, OUT/ca-key.pem, OUT/root-cert.pem and OUT/cert-chain.pem. Existing files are never overwritten.
USAGE
}

die() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

trust_domain='' out='' root='' root_days=3650 days=365
while (($# > 0)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --trust-domain | --out | --root | --root-days | --days)
            (($# > 1)) || die "$1 needs a value" 'see --help'
            case $1 in
                --trust-domain) trust_domain=$2 ;;
                --out) out=$2 ;;
                --root) root=$2 ;;
                --root-days) root_days=$2 ;;
                --days) days=$2 ;;
            esac
            shift 2
            ;;
        *) die "unknown argument $1" 'see --help' ;;
    esac
done

[[ -n $trust_domain ]] || die 'no trust domain' 'give --trust-domain, for example --trust-domain culvert.demo'
# The bytes of the SPIFFE ID standard; the ends as Culvert asks of a new authority.
[[ $trust_domain =~ ^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$ && $trust_domain != *..* && ${#trust_domain} -le 255 ]] ||
    die "\"$trust_domain\" is no trust domain" 'use a-z, 0-9, ".", "-" and "_", at most 255, a letter or digit at both ends'
for number in "$root_days" "$days"; do
    [[ $number =~ ^[1-9][0-9]{0,5}$ ]] || die "\"$number\" is no number of days" 'give a whole number from 1'
done
command -v openssl >/dev/null || die 'openssl is not installed' 'apt-get install openssl'

out=${out:-./$trust_domain}
root=${root:-$out/root}
for file in ca-cert.pem ca-key.pem root-cert.pem cert-chain.pem; do
    [[ ! -e $out/$file ]] || die "$out/$file exists" 'move it away first, or give another --out'
done

umask 077
mkdir -p "$out" "$root"
# Everything is made here and moved when it is complete, so that no half set is ever found.
work=$(mktemp -d "$out/.making.XXXXXX")
trap 'rm -rf "$work"' EXIT

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

# Positive, random, and 16 octets in DER.
serial() { printf '0x%02x%s' $((RANDOM % 112 + 16)) "$(openssl rand -hex 15)"; }

# Two CAs of one name and two keys confuse verifiers, hence a part of the serial number in the name.
subject() { printf '/O=%s/CN=Culvert %s %s' "$trust_domain" "$1" "${2: -8}"; }

config() {
    cat <<CONFIG
[req]
distinguished_name = dn
prompt = no
[dn]
[ca]
basicConstraints = critical, CA:TRUE$1
keyUsage = critical, keyCertSign, cRLSign
subjectAltName = URI:spiffe://$trust_domain
subjectKeyIdentifier = hash
$2
CONFIG
}

if [[ -e $root/root-cert.pem || -e $root/root-key.pem ]]; then
    [[ -e $root/root-cert.pem && -e $root/root-key.pem ]] ||
        die "$root has only one of root-cert.pem and root-key.pem" 'bring both, or give an empty directory'
    openssl x509 -in "$root/root-cert.pem" -noout -ext subjectAltName | grep -qxE " *URI:spiffe://${trust_domain//./\\.}" ||
        die "$root/root-cert.pem is not a root of $trust_domain" "inspect it: culvert cert inspect $root/root-cert.pem"
    openssl x509 -in "$root/root-cert.pem" -noout -checkend $((days * 86400)) >/dev/null ||
        die "the root ends before an intermediate of $days days" 'give fewer --days, or make a new root'
else
    ((days <= root_days)) || die 'the intermediate would outlive the root' 'give fewer --days or more --root-days'
    key "$work/root-key.pem"
    number=$(serial)
    config '' 'authorityKeyIdentifier = keyid' >"$work/root.cnf"
    openssl req -x509 -new -config "$work/root.cnf" -extensions ca -key "$work/root-key.pem" -sha256 -days "$root_days" \
        -set_serial "$number" -subj "$(subject root "$number")" -out "$work/new-root.pem"
    mv "$work/root-key.pem" "$root/root-key.pem"
    mv "$work/new-root.pem" "$root/root-cert.pem"
fi

key "$work/ca-key.pem"
number=$(serial)
config ', pathlen:0' 'authorityKeyIdentifier = keyid:always' >"$work/ca.cnf"
openssl req -new -config "$work/ca.cnf" -key "$work/ca-key.pem" -subj "$(subject intermediate "$number")" -out "$work/ca.csr"
openssl x509 -req -in "$work/ca.csr" -CA "$root/root-cert.pem" -CAkey "$root/root-key.pem" -sha256 -days "$days" \
    -set_serial "$number" -extfile "$work/ca.cnf" -extensions ca -out "$work/ca-cert.pem" 2>/dev/null
cp "$root/root-cert.pem" "$work/root-cert.pem"
cat "$work/ca-cert.pem" "$work/root-cert.pem" >"$work/cert-chain.pem"
openssl verify -CAfile "$work/root-cert.pem" "$work/ca-cert.pem" >/dev/null
chmod 0644 "$work"/{ca-cert,root-cert,cert-chain}.pem
for file in ca-key.pem ca-cert.pem root-cert.pem cert-chain.pem; do mv "$work/$file" "$out/$file"; done

printf 'root:         %s (keep %s offline)\n' "$root/root-cert.pem" "$root/root-key.pem"
printf 'for culvert:  %s: ca-cert.pem ca-key.pem root-cert.pem cert-chain.pem\n' "$out"
openssl x509 -in "$root/root-cert.pem" -noout -fingerprint -sha256 | sed 's/^/root /'
