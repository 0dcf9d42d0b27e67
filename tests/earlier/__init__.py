"""What earlier versions left on a disk, as they left it: each later version opens it, and loses nothing."""
