package meter

import (
	_ "fire/policy/id"
	_ "golang.org/x/sys/unix"
)
