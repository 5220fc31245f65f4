package staging

import "errors"

// errDiskFull says that the disk has room, but must keep it.
var errDiskFull = errors.New("disk is nearly full")
