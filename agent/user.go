package agent

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// become returns what makes a command run as a user, given by name or number, and the user's own variables. Both are nil for the
// agent's own user.
func become(name string) (*syscall.Credential, []string, error) {
	if name == "" {
		return nil, nil, nil
	}
	account, err := user.Lookup(name)
	if err != nil {
		if account, err = user.LookupId(name); err != nil {
			return nil, nil, fmt.Errorf("there is no user %q on this machine", name)
		}
	}
	ids := []string{account.Uid, account.Gid}
	groups, err := account.GroupIds()
	if err != nil {
		return nil, nil, fmt.Errorf("find the groups of user %s: %w", name, err)
	}
	numbers := make([]uint32, 0, len(groups)+2)
	for _, id := range append(ids, groups...) {
		number, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, nil, fmt.Errorf("find the groups of user %s: %w", name, err)
		}
		numbers = append(numbers, uint32(number))
	}
	if numbers[0] == uint32(os.Geteuid()) {
		return nil, nil, nil
	}
	if os.Geteuid() != 0 {
		return nil, nil, fmt.Errorf("only root may run it as user %s; this agent does not run as root", name)
	}
	environment := []string{"HOME=" + account.HomeDir, "USER=" + account.Username, "LOGNAME=" + account.Username}
	return &syscall.Credential{Uid: numbers[0], Gid: numbers[1], Groups: numbers[2:]}, environment, nil
}
