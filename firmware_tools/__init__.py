"""The host side: pack, sign, push, monitor, label. Nothing is imported here."""
