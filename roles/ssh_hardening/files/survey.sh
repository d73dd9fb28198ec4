# shellcheck shell=sh
# What the role decides by, a fact a line. It only reads.
if [ -x /usr/sbin/sshd ] && [ -x /usr/bin/ssh ]; then
  echo "fact programs yes"
  ssh -V 2>&1
  for kind in cipher mac kex; do ssh -Q $kind; done
fi
[ -e /etc/ssh/ssh_host_ed25519_key ] && echo "fact ed25519 yes"
[ -e /etc/ssh/ssh_host_rsa_key ] && echo "fact rsa $(ssh-keygen -l -f /etc/ssh/ssh_host_rsa_key | cut -d' ' -f1)"
# The server needs this directory to check a configuration, and makes it only while it runs.
[ -d /run/sshd ] && echo "fact directory yes"
systemctl --quiet is-enabled ssh.socket && echo "fact socket yes"
# Who has a shell and a key; on a Proxmox VE node, root's file is a link.
getent passwd | while IFS=: read -r name _ _ _ _ home shell; do
  case $shell in *nologin | *false | */sync) continue ;; esac
  if [ -s "$home/.ssh/authorized_keys" ]; then echo "user $name"; fi
done
