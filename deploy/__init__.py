"""What is built for boards: Debian packages, a container. Nothing of it is installed by pip."""
