"""ptiffserve: whole-slide tiles straight out of Philips TIFFs."""

import os

__version__ = "0.1.0"

# Before anything imports libvips. ORC, which makes vector code at run time, was seen freeing it wrongly under
# AddressSanitizer (liborc 0.4.33), and where a machine has it the same view gives other bytes under the same ETag. Without
# it resampling takes as long (measured: 20.6 against 20.8 ms).
os.environ.setdefault("VIPS_NOVECTOR", "1")
