#!/bin/sh
# Programs of other mail servers from Debian, run as if they were installed, on a machine whose own mail server they could not be installed beside.
#   neighbours.sh fetch FOLDER      downloads the packages and unpacks them into FOLDER
#   neighbours.sh run FOLDER PROGRAM ARGUMENT...
#                                   runs a program that sees them over /usr, with their users, in a mount namespace of its own; needs root
# Nothing of this machine is changed. Exit 69: it cannot be done here.
set -eu
packages='exim4-base exim4-daemon-light opensmtpd msmtp dovecot-core dovecot-submissiond
  libidn12 libgsasl18 libgssglue1 libntlm0 libsecret-1-0 liblockfile1 libevent-2.1-7 libstemmer0d libexttextcat-2.0-0 libsodium23'
what=$1 folder=$2
shift 2
case $what in
fetch)
  mkdir -p "$folder/debs" "$folder/all"
  cd "$folder/debs"
  # Some are only needed where this machine lacks them, and have other names in other releases: then one by one.
  # shellcheck disable=SC2086 # a list
  timeout 60 apt-get -qq download $packages 2>/dev/null || for package in $packages; do
    timeout 20 apt-get -qq download "$package" 2>/dev/null || true
  done
  for file in ./*.deb; do
    [ -e "$file" ] || { echo 'no package can be downloaded here' >&2; exit 69; }
    dpkg -x "$file" "$folder/all"
  done
  mkdir -p "$folder/empty"
  unshare -m mount -t overlay overlay -o "lowerdir=$folder/all/usr:/usr" /usr 2>/dev/null || { echo 'nothing can be mounted here' >&2; exit 69; }
  id=20100
  cp /etc/passwd "$folder/passwd"
  cp /etc/group "$folder/group"
  for user in Debian-exim opensmtpd opensmtpq dovecot dovenull vmail; do
    id=$((id + 1))
    echo "$user:x:$id:$id::$folder/empty:/usr/sbin/nologin" >>"$folder/passwd"
    echo "$user:x:$id:" >>"$folder/group"
  done
  ;;
run)
  export NEIGHBOURS="$folder"
  # shellcheck disable=SC2016 # expanded within the namespace
  exec unshare -m sh -c '
    mount -t overlay overlay -o "lowerdir=$NEIGHBOURS/all/usr:/usr" /usr
    mount --bind "$NEIGHBOURS/passwd" /etc/passwd
    mount --bind "$NEIGHBOURS/group" /etc/group
    for place in /run /var/spool /var/lib; do mount -t tmpfs tmpfs "$place"; done
    mkdir -p -m 711 /var/spool/smtpd /var/lib/opensmtpd/empty /run/smtpd /run/dovecot /run/dovecot-state
    exec "$@"' sh "$@"
  ;;
esac
