# What the scripts beside this have in common; sourced, never run.

die() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

# The bytes of the SPIFFE ID standard; the ends as Culvert asks of a new authority.
check_trust_domain() {
    [ -n "$1" ] || die 'no trust domain' 'give --trust-domain, for example --trust-domain culvert.demo'
    printf '%s\n' "$1" | grep -qxE '[a-z0-9]([a-z0-9._-]*[a-z0-9])?' && [ ${#1} -le 255 ] ||
        die "\"$1\" is no trust domain" \
            'use a-z, 0-9, ".", "-" and "_", at most 255, a letter or digit at both ends'
    case $1 in *..*) die "\"$1\" is no trust domain" 'no two dots in a row' ;; esac
}

check_days() {
    printf '%s\n' "$1" | grep -qxE '[1-9][0-9]{0,5}' || die "\"$1\" is no number of days" 'give a whole number from 1'
}

check_openssl() { command -v openssl >/dev/null || die 'openssl is not installed' 'apt-get install openssl'; }

# KIND FILE
make_key() {
    case $1 in
        p256) openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$2" ;;
        p384) openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$2" ;;
        rsa3072) openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out "$2" ;;
        *) die "\"$1\" is no kind of key" 'p256, p384 or rsa3072' ;;
    esac
}

# Positive, random, and 16 octets in DER: the first one is 0x10 to 0x7f.
make_serial() {
    first=$(printf '%d' "0x$(openssl rand -hex 1)")
    printf '0x%02x%s' $((first % 112 + 16)) "$(openssl rand -hex 15)"
}

# TRUST_DOMAIN KIND SERIAL. Two CAs of one name and two keys confuse verifiers, hence a part of the serial number in it.
make_subject() { printf '/O=%s/CN=Culvert %s %s' "$1" "$2" "$(printf '%s' "$3" | tail -c 8)"; }

# TRUST_DOMAIN PATH_LENGTH AUTHORITY_KEY_IDENTIFIER: a configuration whose section [ca] says what a CA's certificate says.
make_config() {
    cat <<CONFIG
[req]
distinguished_name = dn
prompt = no
[dn]
[ca]
basicConstraints = critical, CA:TRUE$2
keyUsage = critical, keyCertSign, cRLSign
subjectAltName = URI:spiffe://$1
subjectKeyIdentifier = hash
authorityKeyIdentifier = $3
CONFIG
}
